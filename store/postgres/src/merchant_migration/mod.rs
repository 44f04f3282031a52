//! Migration of a merchant from its shard to another while both are in use.
//!
//! The steps, and what a crash after each of them leaves for the next run of the same command:
//! 1. Prepare the target: partitions, and the merchant's row as `arriving`, which no process reads. A rerun finds it.
//! 2. Copy, twice, while the merchant is in use: chunks that are equal already are skipped.
//! 3. Close the fence (`postgres::fence`): the merchant is read, and no longer written. The next run continues here;
//!    [`Migrator::abort`] opens it.
//! 4. Wait until the relays have sent all its messages, so that none is sent twice or after those of the new shard.
//! 5. Compare every chunk of every table, copying those that differ; all must be equal.
//! 6. Hand over: `moved` in the source, then `active` in the target; in between only the next run can complete it.
//! 7. Wait until no process has the old shard cached, then delete the source's rows. The next run deletes the rest.
//!
//! A failure between 3 and 6 opens the fence again. Meanwhile only writes of this merchant fail, by 503 or a snooze.

mod compare;
mod guard;
mod report;
mod side;
mod sql;
mod tables;

pub use report::{MoveError, MovePreview, MoveReport, Progress, Step, TableReport};

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use base::{Ambient, postgres::PostgresConfig};
use store::domain::MerchantId;
use tokio::{sync::watch, time::timeout};

use self::{
    compare::Copier,
    guard::{Guard, Stay},
    side::Side,
    sql::Range,
    tables::TABLES,
};
use super::{
    check_schema,
    database::OrderDatabase,
    fence::MerchantState,
    partitions::{create_all, months_there},
    router::LOCATED_FOR,
};

/// Connections to each of the two databases; a migration does one thing at a time.
const CONNECTIONS: u32 = 2;
/// Longest run of a statement: a chunk of a large table whose months contain many merchants.
const STATEMENT_TIMEOUT: Duration = Duration::from_mins(2);
/// Longest wait for writes in progress when the fence closes, and for another migration of the merchant to end.
const LOCK_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest pause between checks for unsent messages; a relay that sends them also ends the pause.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct MoveOptions {
    /// Keep the source's rows, out of use.
    pub keep_source: bool,
    /// Rows in a chunk.
    pub batch_rows: u32,
    /// Longest wait for relays to send the merchant's messages, during which the merchant cannot be written.
    pub drain_max: Duration,
    /// Delay between the hand-over and the deletion of the source's rows: longer than the lifetime of any process's
    /// cached location plus its last read.
    pub settle: Duration,
}

impl Default for MoveOptions {
    fn default() -> Self {
        Self {
            keep_source: false,
            batch_rows: 1000,
            drain_max: Duration::from_secs(30),
            settle: LOCATED_FOR * 2,
        }
    }
}

/// Migrates one merchant to one shard. Does nothing until [`Self::run`].
pub struct Migrator {
    shards: BTreeMap<String, PostgresConfig>,
    merchant: MerchantId,
    to: String,
    options: MoveOptions,
    ambient: Ambient,
}

/// The step with which the next run begins.
enum NextStep {
    /// The merchant lives on the source.
    Copy,
    /// The merchant has left the source and has not arrived.
    HandOver,
    /// The merchant has arrived; the source's rows remain.
    Clear,
}

impl Migrator {
    /// `shards` must be all shards, so that none is overlooked.
    pub fn new(
        shards: BTreeMap<String, PostgresConfig>,
        merchant: MerchantId,
        to: String,
        options: MoveOptions,
        ambient: Ambient,
    ) -> Result<Self, MoveError> {
        if !shards.contains_key(&to) {
            return Err(MoveError::UnknownShard(to));
        }
        let unhurried = |config: PostgresConfig| PostgresConfig {
            pool_max: CONNECTIONS,
            statement_timeout: STATEMENT_TIMEOUT,
            lock_timeout: LOCK_TIMEOUT,
            ..config
        };
        let shards = shards.into_iter().map(|(name, config)| (name, unhurried(config))).collect();
        Ok(Self { shards, merchant, to, options, ambient })
    }

    /// What a run would do now; changes nothing.
    pub async fn preview(&self) -> Result<MovePreview, MoveError> {
        let mut guard = Guard::take(&self.shards, self.merchant).await?;
        let stays = guard.stays().await?;
        guard.release().await;
        let (from, step) = self.rest(&stays)?.unzip();
        let next = match step {
            Some(NextStep::Copy) => "copy",
            Some(NextStep::HandOver) => "hand over",
            Some(NextStep::Clear) => "delete the source's rows",
            None => "nothing",
        };
        let (mut rows, mut unsent) = (BTreeMap::new(), 0);
        if let Some(from) = &from {
            let source = self.side(from).await?;
            unsent = source.unsent().await?;
            for table in TABLES {
                let mut count = 0;
                for owner in source.owners(table).await? {
                    count += source.count(table, owner).await?;
                }
                rows.insert(table.label, count);
            }
            source.database.close();
        }
        Ok(MovePreview { merchant: self.merchant, from, to: self.to.clone(), next, rows, unsent })
    }

    /// Runs all remaining steps. Dropped, it leaves the same state as a crash.
    pub async fn run(&self, progress: &Progress<'_>) -> Result<MoveReport, MoveError> {
        let mut guard = Guard::take(&self.shards, self.merchant).await?;
        let rest = self.rest(&guard.stays().await?)?;
        let mut report = MoveReport {
            merchant: self.merchant,
            from: None,
            to: self.to.clone(),
            tables: Vec::new(),
            fenced_ms: 0,
            deleted: 0,
        };
        let Some((from, step)) = rest else { return Ok(report) };
        match step {
            NextStep::Copy => self.carry(&mut guard, &from, progress, &mut report).await?,
            NextStep::HandOver => {
                progress(Step::Arriving);
                guard.arrive(&self.to).await?;
            }
            NextStep::Clear => {}
        }
        if !self.options.keep_source {
            progress(Step::Settling);
            tokio::time::sleep(self.options.settle).await;
            report.deleted = self.clear(&mut guard, &from, progress).await?;
        }
        report.from = Some(from);
        guard.release().await;
        Ok(report)
    }

    /// Undoes a migration that has not arrived: makes the source writable and deletes the copy. Returns the source.
    pub async fn abort(&self, progress: &Progress<'_>) -> Result<String, MoveError> {
        let mut guard = Guard::take(&self.shards, self.merchant).await?;
        let stays = guard.stays().await?;
        let home = match self.rest(&stays)? {
            Some((from, NextStep::Copy)) => {
                guard.open(&from).await?;
                from
            }
            Some((from, NextStep::HandOver)) => {
                guard.take_back(&from, &self.to).await?;
                from
            }
            Some((_, NextStep::Clear)) | None => return Err(MoveError::Arrived(self.to.clone())),
        };
        if stays.get(&self.to).is_some_and(|stay| stay.state == MerchantState::Arriving) {
            self.clear(&mut guard, &self.to, progress).await?;
        }
        guard.release().await;
        Ok(home)
    }

    /// Opens the fence of an interrupted run, if it is closed, and keeps the copy for the next run.
    pub async fn open_fence(&self) -> Result<(), MoveError> {
        let mut guard = Guard::take(&self.shards, self.merchant).await?;
        if let Some((from, NextStep::Copy)) = self.rest(&guard.stays().await?)? {
            guard.open(&from).await?;
        }
        guard.release().await;
        Ok(())
    }

    /// The source and the next step; `None` when nothing is left to do.
    fn rest(&self, stays: &BTreeMap<String, Stay>) -> Result<Option<(String, NextStep)>, MoveError> {
        let mut here = stays.iter().filter(|(_, stay)| stay.state.is_here());
        let (home, other) = (here.next(), here.next());
        if let (Some((one, _)), Some((two, _))) = (home, other) {
            return Err(MoveError::TwoHomes(one.clone(), two.clone()));
        }
        let gone = |(_, stay): &(&String, &Stay)| {
            stay.state == MerchantState::Moved && stay.moved_to.as_ref() == Some(&self.to)
        };
        let left = stays.iter().find(gone).map(|(name, _)| name.clone());
        match (home, left) {
            (Some((home, _)), left) if *home == self.to => Ok(left.map(|from| (from, NextStep::Clear))),
            (Some((_, stay)), _) if stay.moved_to.as_ref().is_some_and(|to| *to != self.to) => {
                Err(MoveError::OtherTarget(stay.moved_to.clone().unwrap_or_default()))
            }
            (Some((home, _)), _) => Ok(Some((home.clone(), NextStep::Copy))),
            (None, Some(from)) => Ok(Some((from, NextStep::HandOver))),
            (None, None) => {
                let to = stays.values().find_map(|stay| stay.moved_to.clone());
                Err(to.map_or(MoveError::UnknownMerchant, MoveError::OtherTarget))
            }
        }
    }

    /// Runs steps 1 to 6.
    async fn carry(
        &self,
        guard: &mut Guard,
        from: &str,
        progress: &Progress<'_>,
        report: &mut MoveReport,
    ) -> Result<(), MoveError> {
        let (source, target) = (self.side(from).await?, self.side(&self.to).await?);
        progress(Step::Preparing);
        if let Some((table, _)) =
            source.columns.iter().find(|(table, columns)| target.columns.get(*table) != Some(columns))
        {
            return Err(MoveError::Schemas(table));
        }
        guard.expect(&self.to).await?;
        for month in months_there(&source.database).await? {
            create_all(&target.database, month, 0).await?;
        }
        let mut copier =
            Copier { source: &source, target: &target, guard: &mut *guard, batch: self.batch(), progress };
        for _ in 0..2 {
            copier.pass(false).await?;
        }
        progress(Step::Fencing);
        let fenced = Instant::now();
        report.tables = match self.under_the_fence(&mut copier).await {
            Ok(tables) => tables,
            Err(error) => {
                // After any error the merchant stays in use on the source, if the source can still be reached.
                if let Err(opening) = guard.open(from).await {
                    tracing::warn!(error = %opening, "merchant fence left closed: run the move again or abort it");
                }
                return Err(error);
            }
        };
        progress(Step::Leaving);
        guard.leave(from, &self.to).await?;
        progress(Step::Arriving);
        guard.arrive(&self.to).await?;
        report.fenced_ms = u64::try_from(fenced.elapsed().as_millis()).unwrap_or(u64::MAX);
        for side in [source, target] {
            side.database.close();
        }
        Ok(())
    }

    async fn under_the_fence(&self, copier: &mut Copier<'_>) -> Result<Vec<TableReport>, MoveError> {
        copier.guard.shut(&copier.source.name, &self.to).await?;
        self.drained(copier.source, copier.progress).await?;
        copier.pass(true).await
    }

    async fn drained(&self, source: &Side, progress: &Progress<'_>) -> Result<(), MoveError> {
        let mut arrivals = source.database.arrivals();
        let begun = Instant::now();
        loop {
            // Mark as seen, check, then wait: a message sent after this line ends the wait below.
            arrivals.borrow_and_update();
            let messages = source.unsent().await?;
            progress(Step::Draining(messages));
            if messages == 0 {
                return Ok(());
            }
            let left = self.options.drain_max.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(MoveError::Undrained { messages, seconds: self.options.drain_max.as_secs() });
            }
            // Checks again after an arrival and after the pause alike.
            drop(timeout(left.min(LOOK_AGAIN), arrivals.changed()).await);
        }
    }

    /// Deletes all rows of the merchant on a shard on which it does not live.
    async fn clear(&self, guard: &mut Guard, shard: &str, progress: &Progress<'_>) -> Result<u64, MoveError> {
        let side = self.side(shard).await?;
        let mut deleted = 0;
        for table in TABLES.iter().rev() {
            progress(Step::Clearing(table.label));
            for owner in side.owners(table).await? {
                deleted +=
                    compare::clear(&side, guard, table, owner, &Range::default(), self.batch()).await?;
            }
        }
        side.database.close();
        Ok(deleted)
    }

    fn batch(&self) -> u64 {
        u64::from(self.options.batch_rows.max(1))
    }

    async fn side(&self, name: &str) -> Result<Side, MoveError> {
        let config = self.shards.get(name).ok_or_else(|| MoveError::UnknownShard(name.to_owned()))?;
        let database =
            OrderDatabase::connect(0, config, self.ambient.clone(), watch::Sender::default()).await?;
        check_schema(&database).await?;
        Ok(Side::open(name.to_owned(), self.merchant, database).await?)
    }
}
