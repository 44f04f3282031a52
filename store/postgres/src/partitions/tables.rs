//! Monthly partitions, attached to their parent tables.
//!
//! Guarantees: each partition is created or dropped in a transaction of its own, under a lock that admits one process
//! at a time. Attaching blocks writers to the default partition, which is empty unless the job did not run; then its
//! rows are moved while every statement on the table waits, so that none misses them. Detaching locks the parent
//! briefly. All give up after the configured lock timeout, so that checkouts do not queue behind them.

use std::time::Duration;

use base::{
    Timestamp,
    ids::{Uuid, floor},
    time::earlier,
};
use futures::future::join_all;
use sqlx::AssertSqlSafe;
use store::error::Result;

use super::{Dropped, Family, Month};
use crate::{PostgresOrders, database::OrderDatabase, fault, row::get, transaction::Unit};

/// Advisory lock of this database; each use of such locks has a number of its own.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7237114961)";
const EXISTS: &str = "SELECT to_regclass($1) IS NOT NULL AS there";
const MONTHS_OF: &str = "
    SELECT c.relname::text AS name FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass($1) ORDER BY name";
/// Emptying a default partition may take long: it has no statement timeout, but the lock timeout applies.
const UNHURRIED: &str = "SET LOCAL statement_timeout = 0";

struct Table {
    name: &'static str,
    /// The partition key, an id.
    key: &'static str,
    /// Storage parameters of the partitions; a parent has none.
    storage: &'static str,
}

/// Logs are written once; orders are updated in place, usually three times.
const LOG: &str = "fillfactor = 100";
const ORDERS: [Table; 3] = [
    Table { name: "orders", key: "id", storage: "fillfactor = 80" },
    Table { name: "refunds", key: "order_id", storage: LOG },
    Table { name: "mails", key: "order_id", storage: LOG },
];
const OUTBOX: [Table; 1] = [Table { name: "outbox", key: "id", storage: LOG }];
const ATTEMPTS: [Table; 1] = [Table { name: "webhook_attempts", key: "event_id", storage: LOG }];

fn tables(family: Family) -> &'static [Table] {
    match family {
        Family::Orders => &ORDERS,
        Family::Outbox => &OUTBOX,
        Family::WebhookAttempts => &ATTEMPTS,
    }
}

/// Queries that each find a row for which a family's month must be kept, with the reason; `$1` and `$2` bound the
/// month's ids.
const fn needed(family: Family) -> &'static [(&'static str, &'static str)] {
    match family {
        Family::Orders => &[
            (
                "SELECT 1 FROM orders WHERE id >= $1 AND id < $2 AND status IN ('pending', 'paid') LIMIT 1",
                "an order in it is open",
            ),
            (
                "SELECT 1 FROM refunds WHERE order_id >= $1 AND order_id < $2 AND recorded_at IS NULL AND failed_at IS NULL LIMIT 1",
                "a refund in it is not recorded",
            ),
        ],
        Family::Outbox => &[(
            "SELECT 1 FROM outbox_unsent WHERE id >= $1 AND id < $2 LIMIT 1",
            "a message in it is not sent",
        )],
        Family::WebhookAttempts => &[],
    }
}

/// A month with the bounds of its ids.
#[derive(Clone, Copy)]
struct Span {
    month: Month,
    from: Uuid,
    to: Uuid,
}

impl Span {
    fn of(month: Month) -> Option<Self> {
        Some(Self { month, from: floor(month.start()?), to: floor(month.plus(1)?.start()?) })
    }

    fn table(self, parent: &Table) -> String {
        format!("{}_{}", parent.name, self.month.suffix())
    }
}

impl PostgresOrders {
    /// Creates the partitions of the month of `now` and of the `months_ahead` after it, in all families; returns the
    /// new tables. Rows of those months that went into a default partition are moved.
    pub async fn create_partitions(&self, now: Timestamp, months_ahead: u32) -> Result<Vec<String>> {
        let members = self.router.members();
        let creating = members.iter().map(|member| create_all(&member.primary, now, months_ahead));
        let mut created = Vec::new();
        for (member, tables) in members.iter().zip(join_all(creating).await) {
            created.extend(tables?.into_iter().map(|table| member.table(table)));
        }
        Ok(created)
    }

    /// Drops the months of a family that ended `keep` ago, by `now` and by the server's clock, with all their rows. A
    /// month is kept while an order in it is open, a refund in it not recorded, or a message in it unsent.
    pub async fn drop_partitions(&self, family: Family, now: Timestamp, keep: Duration) -> Result<Dropped> {
        let members = self.router.members();
        let dropping = members.iter().map(|member| drop_all(&member.primary, family, now, keep));
        let mut all = Dropped::default();
        for (member, dropped) in members.iter().zip(join_all(dropping).await) {
            let dropped = dropped?;
            all.tables.extend(dropped.tables.into_iter().map(|table| member.table(table)));
            all.kept.extend(dropped.kept.into_iter().map(|(table, why)| (member.table(table), why)));
        }
        Ok(all)
    }
}

/// Creates what is missing in one database; returns the new tables.
pub(crate) async fn create_all(
    database: &OrderDatabase,
    now: Timestamp,
    months_ahead: u32,
) -> fault::Result<Vec<String>> {
    let mut created = Vec::new();
    for months in 0..=months_ahead {
        let span = Month::of(now).plus(months).and_then(Span::of);
        let Some(span) = span else { break };
        for table in Family::ALL.into_iter().flat_map(tables) {
            let creating = async |lock| {
                let facts = (table, span, lock);
                let write = database
                    .write(&facts, |unit, (table, span, lock)| Box::pin(create(unit, table, *span, *lock)));
                write.await
            };
            let mut creation = creating(Lock::DefaultPartition).await?;
            if creation == Creation::RowsInTheWay {
                creation = creating(Lock::Parent).await?;
            }
            if creation == Creation::Created {
                created.push(span.table(table));
            }
        }
    }
    Ok(created)
}

async fn drop_all(
    database: &OrderDatabase,
    family: Family,
    now: Timestamp,
    keep: Duration,
) -> fault::Result<Dropped> {
    let before = earlier(now.min(database.clock().await?), keep);
    let mut dropped = Dropped::default();
    for span in months(database, family).await? {
        if span.to > floor(before) {
            break;
        }
        let facts = (family, span);
        let kept = database.write(&facts, |unit, (family, span)| Box::pin(expire(unit, *family, *span)));
        let names = tables(family).iter().map(|table| span.table(table));
        match kept.await? {
            None => dropped.tables.extend(names),
            Some(why) => dropped.kept.extend(names.map(|name| (name, why))),
        }
    }
    Ok(dropped)
}

/// The starts of all months for which any family has a partition, oldest first.
pub(crate) async fn months_there(database: &OrderDatabase) -> fault::Result<Vec<Timestamp>> {
    let mut starts = Vec::new();
    for family in Family::ALL {
        starts.extend(months(database, family).await?.into_iter().filter_map(|span| span.month.start()));
    }
    starts.sort_unstable();
    starts.dedup();
    Ok(starts)
}

/// The months for which a family has partitions, oldest first.
async fn months(database: &OrderDatabase, family: Family) -> fault::Result<Vec<Span>> {
    let mut months = Vec::new();
    for table in tables(family) {
        for row in database.reads().rows(sqlx::query(MONTHS_OF).bind(table.name)).await? {
            months.extend(Month::of_table(get(&row, "name")?));
        }
    }
    months.sort_unstable();
    months.dedup();
    Ok(months.into_iter().filter_map(Span::of).collect())
}

/// The table that is locked while a partition is attached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lock {
    DefaultPartition,
    /// A statement that was planned before the partition is attached and then waits for the default partition sees
    /// neither the new partition nor the rows that left the default one. At the parent it waits before it is planned.
    Parent,
}

#[derive(PartialEq, Eq)]
enum Creation {
    Created,
    Existed,
    /// The default partition has rows of the month, and only [`Lock::Parent`] may move them.
    RowsInTheWay,
}

async fn create(unit: &mut Unit, table: &Table, span: Span, lock: Lock) -> fault::Result<Creation> {
    unit.run(sqlx::query(LOCK)).await?;
    let (parent, child) = (table.name, span.table(table));
    if exists(unit, &child).await? {
        return Ok(Creation::Existed);
    }
    run(unit, UNHURRIED.to_owned()).await?;
    run(unit, format!("CREATE TABLE {child} (LIKE {parent} INCLUDING ALL) WITH ({})", table.storage)).await?;
    // From here on no other transaction can insert a row of this month into the default partition.
    let locked = if lock == Lock::Parent { parent.to_owned() } else { format!("{parent}_default") };
    run(unit, format!("LOCK TABLE {locked} IN ACCESS EXCLUSIVE MODE")).await?;
    let (key, from, to) = (table.key, span.from, span.to);
    let of_month = format!("FROM {parent}_default WHERE {key} >= '{from}' AND {key} < '{to}'");
    if lock == Lock::Parent {
        let moved = format!("WITH moved AS (DELETE {of_month} RETURNING *)");
        run(unit, format!("{moved} INSERT INTO {child} SELECT * FROM moved")).await?;
    } else if unit.row(sqlx::query(AssertSqlSafe(format!("SELECT 1 {of_month} LIMIT 1")))).await?.is_some() {
        unit.abandon();
        return Ok(Creation::RowsInTheWay);
    }
    run(
        unit,
        format!("ALTER TABLE {parent} ATTACH PARTITION {child} FOR VALUES FROM ('{from}') TO ('{to}')"),
    )
    .await?;
    Ok(Creation::Created)
}

/// Drops a family's partitions of a month, or returns the reason why they are kept.
async fn expire(unit: &mut Unit, family: Family, span: Span) -> fault::Result<Option<&'static str>> {
    unit.run(sqlx::query(LOCK)).await?;
    // Checked before the lock that blocks writers, to spare them for a month that is needed; and again under the lock.
    if let Some(why) = still_needed(unit, family, span).await? {
        return Ok(Some(why));
    }
    let mut found = Vec::new();
    for table in tables(family) {
        if exists(unit, &span.table(table)).await? {
            run(unit, format!("LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE", table.name)).await?;
            run(unit, format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", span.table(table))).await?;
            found.push(table);
        }
    }
    if let Some(why) = still_needed(unit, family, span).await? {
        return Ok(Some(why));
    }
    for table in found {
        let child = span.table(table);
        run(unit, format!("ALTER TABLE {} DETACH PARTITION {child}", table.name)).await?;
        run(unit, format!("DROP TABLE {child}")).await?;
    }
    Ok(None)
}

async fn still_needed(unit: &mut Unit, family: Family, span: Span) -> fault::Result<Option<&'static str>> {
    for (sql, why) in needed(family) {
        if unit.row(sqlx::query(*sql).bind(span.from).bind(span.to)).await?.is_some() {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

async fn exists(unit: &mut Unit, table: &str) -> fault::Result<bool> {
    let row = unit.row(sqlx::query(EXISTS).bind(table)).await?;
    row.map_or(Ok(false), |row| get(&row, "there"))
}

/// Runs a statement without arguments: its names and bounds are made here, from a month and constants.
async fn run(unit: &mut Unit, sql: String) -> fault::Result<()> {
    unit.run(sqlx::query(AssertSqlSafe(sql)).persistent(false)).await?;
    Ok(())
}
