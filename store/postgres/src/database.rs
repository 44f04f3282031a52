//! One database of the order store: its connections, its units of work and the notification of its relays.
//!
//! Guarantees: the result of a unit is returned after its commit; repetitions are bounded; relays are notified after a
//! commit with messages. Behind a pooler every statement is inside a transaction, reads included, so that each
//! transaction may run on another server connection. Does not know which merchants live in the database, except that a
//! [fenced](OrderDatabase::fenced) handle passes the fence of its merchant in every write.

use std::sync::Arc;

use base::{
    Ambient, Timestamp,
    ids::Uuid,
    postgres::{self, Database, OpenError, PostgresConfig, Query, retry_serialization},
};
use futures::future::BoxFuture;
use store::{domain::MerchantId, rules::columns::Columns};
use tokio::sync::watch;

use super::{fault::PostgresFault, fence, notify::Wake, transaction::Unit};

/// Broken connections replaced at most before the server is reported as unavailable.
const BROKEN_MAX: u32 = 3;

/// The statements of a unit over its arguments.
pub(super) type Work<A, T> = for<'c> fn(&'c mut Unit, &'c A) -> BoxFuture<'c, Result<T, PostgresFault>>;

/// Connections to a database that can be written. Clones share them.
#[derive(Clone)]
pub(super) struct OrderDatabase {
    connections: Arc<Connections>,
    /// The merchant whose presence in this database every write checks, see [`fence`].
    fenced: Option<Uuid>,
}

struct Connections {
    number: u16,
    database: Database,
    ambient: Ambient,
    wake: Wake,
}

impl OrderDatabase {
    /// Connects, with a pool of its own. `number` tells the databases of a process apart; `arrivals` changes whenever
    /// messages may have arrived here.
    pub(super) async fn connect(
        number: u16,
        config: &PostgresConfig,
        ambient: Ambient,
        arrivals: watch::Sender<u64>,
    ) -> Result<Self, OpenError> {
        let listen = config.direct_options()?;
        let database = postgres::connect(&PostgresConfig { by_index: true, ..config.clone() }).await?;
        let wake = Wake::start(database.clone(), listen, ambient.clone(), arrivals);
        Ok(Self { connections: Arc::new(Connections { number, database, ambient, wake }), fenced: None })
    }

    pub(super) fn number(&self) -> u16 {
        self.connections.number
    }

    /// The same database, for writes of this merchant's data only, each of which passes the fence.
    pub(super) fn fenced(&self, merchant: MerchantId) -> Self {
        Self { fenced: Some(merchant.0), ..self.clone() }
    }

    pub(super) fn fence(&self) -> Option<Uuid> {
        self.fenced
    }

    pub(super) fn reads(&self) -> &Database {
        &self.connections.database
    }

    pub(super) async fn clock(&self) -> Result<Timestamp, PostgresFault> {
        let rows = self.reads().rows(sqlx::query("SELECT clock_timestamp() AS clock")).await?;
        let row = rows.first().ok_or_else(|| PostgresFault::Sql(sqlx::Error::RowNotFound))?;
        row.time("clock")
    }

    /// Listens from now on, and subscribes to the arrivals passed to [`Self::connect`].
    pub(super) fn arrivals(&self) -> watch::Receiver<u64> {
        self.connections.wake.arrivals()
    }

    /// Closes the connections once the statements in flight are done.
    pub(super) fn close(&self) {
        self.connections.database.close();
    }

    /// Runs `work` over `facts` in a transaction, again when the server rolls it back in favour of another.
    pub(super) async fn write<A: Sync, T: Send>(
        &self,
        facts: &A,
        work: Work<A, T>,
    ) -> Result<T, PostgresFault> {
        retry_serialization(&self.connections.ambient, || self.attempt(facts, work)).await
    }

    async fn attempt<A: Sync, T: Send>(&self, facts: &A, work: Work<A, T>) -> Result<T, PostgresFault> {
        let mut unit = self.begin().await?;
        let answer = work(&mut unit, facts).await?;
        if unit.end().await? {
            self.connections.wake.notify();
        }
        Ok(answer)
    }

    /// Runs one statement, which is a transaction by itself; returns the number of rows changed.
    pub(super) async fn run(&self, query: Query<'_>) -> Result<u64, PostgresFault> {
        if self.fenced.is_none() {
            return Ok(self.connections.database.run(query).await?);
        }
        let mut unit = self.begin().await?;
        let changed = unit.run(query).await?;
        unit.end().await?;
        Ok(changed)
    }

    /// Begins a transaction, and passes the fence where there is one. A pooled connection that turns out to be broken
    /// is replaced, as no statement has been sent on it yet.
    async fn begin(&self) -> Result<Unit, PostgresFault> {
        let Connections { database, ambient, .. } = &*self.connections;
        let mut broken = 0;
        let transaction = loop {
            match database.begin().await.map_err(PostgresFault::from) {
                Err(fault) if fault.is_broken_line() && broken < BROKEN_MAX => broken += 1,
                answer => break answer?,
            }
        };
        let mut unit = Unit::new(transaction, ambient.clone(), database.names_statements());
        if let Some(merchant) = self.fenced {
            fence::pass(&mut unit, merchant).await?;
        }
        Ok(unit)
    }
}
