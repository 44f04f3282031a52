//! One of the two databases of a migration, table by table.

use std::collections::BTreeMap;

use base::{ids::Uuid, postgres::Query};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, postgres::PgRow};
use store::{domain::MerchantId, rules::columns::Columns as _};

use super::{
    MoveError,
    guard::Guard,
    sql::{Range, Statements, Values},
    tables::{Column, ENDPOINTS, Owner, TABLES, Table},
};
use crate::{database::OrderDatabase, fault::PostgresFault, fence::MerchantState, row::get};

/// Locks the merchant's state until the transaction that changes its rows ends.
const USED: &str = "SELECT state FROM merchants WHERE id = $1 FOR SHARE";
const COLUMNS: &str = "
    SELECT attname::text AS name, format_type(atttypid, atttypmod) AS kind FROM pg_attribute
    WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
const UNSENT: &str = "
    SELECT count(*) AS messages FROM outbox_unsent AS u
    WHERE EXISTS (SELECT 1 FROM outbox AS o WHERE o.id = u.id AND o.merchant_id = $1)";

/// Columns with their types, by table.
pub(super) type Columns = BTreeMap<&'static str, Vec<(String, String)>>;

/// Number and digest of the rows in a range.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) rows: u64,
    /// SHA-256 of the rows in their order, hexadecimal.
    pub(super) digest: String,
    /// The key of the last row.
    pub(super) last: Option<Values>,
}

impl Found {
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.rows, &self.digest) == (other.rows, &other.digest)
    }
}

/// A row to be copied.
pub(super) struct Carried {
    pub(super) identity: Values,
    pub(super) key: Values,
    /// Empty where only the identity was selected.
    pub(super) image: String,
}

/// A database with the columns of its tables.
pub(super) struct Side {
    pub(super) name: String,
    merchant: MerchantId,
    pub(super) database: OrderDatabase,
    pub(super) columns: Columns,
}

impl Side {
    pub(super) async fn open(
        name: String,
        merchant: MerchantId,
        database: OrderDatabase,
    ) -> Result<Self, PostgresFault> {
        let mut columns = Columns::new();
        for table in TABLES {
            let rows = database.reads().rows(sqlx::query(COLUMNS).bind(table.name)).await?;
            let read = |row: &PgRow| Ok::<_, PostgresFault>((get(row, "name")?, get(row, "kind")?));
            columns.insert(table.name, rows.iter().map(read).collect::<Result<_, _>>()?);
        }
        Ok(Self { name, merchant, database, columns })
    }

    /// The values of `$1` for a table.
    pub(super) async fn owners(&self, table: &Table) -> Result<Vec<Uuid>, PostgresFault> {
        match table.owner {
            Owner::Merchant => Ok(vec![self.merchant.0]),
            Owner::Endpoint => {
                let rows = self.database.reads().rows(sqlx::query(ENDPOINTS).bind(self.merchant.0)).await?;
                rows.iter().map(|row| get(row, "endpoint_id")).collect()
            }
        }
    }

    pub(super) async fn digest(
        &self,
        table: &Table,
        owner: Uuid,
        range: &Range,
        limit: u64,
    ) -> Result<Found, PostgresFault> {
        let sql = self.statements(table).digest(range);
        let rows = self.database.reads().rows(bind(&sql, owner, range, limit)).await?;
        let row = rows
            .first()
            .ok_or_else(|| PostgresFault::Corrupt("a SELECT of sums returned no row".to_owned()))?;
        let rows = row.number("rows")?;
        let last = if rows == 0 { None } else { Some(values(row, "k", table.key)?) };
        Ok(Found { rows, digest: get(row, "digest")?, last })
    }

    /// The rows of a range in order; without their contents unless `whole`.
    pub(super) async fn rows(
        &self,
        table: &Table,
        owner: Uuid,
        range: &Range,
        limit: u64,
        whole: bool,
    ) -> Result<Vec<Carried>, PostgresFault> {
        let sql = self.statements(table).rows(range, whole);
        let rows = self.database.reads().rows(bind(&sql, owner, range, limit)).await?;
        let carried = |row: &PgRow| {
            Ok(Carried {
                identity: values(row, "i", table.identity)?,
                key: values(row, "k", table.key)?,
                image: if whole { get(row, "image")? } else { String::new() },
            })
        };
        rows.iter().map(carried).collect()
    }

    /// Deletes the rows `gone` and stores the rows `come`, in their order, in one transaction of the session that holds
    /// the lock of the migration: a migration that has lost the lock, perhaps to another, can change nothing. Fails
    /// where the merchant lives.
    pub(super) async fn change(
        &self,
        guard: &mut Guard,
        table: &Table,
        gone: &[Values],
        come: Vec<Carried>,
    ) -> Result<(), MoveError> {
        let statements = self.statements(table);
        let deletions = if gone.is_empty() { Vec::new() } else { statements.delete() };
        let column = |n: usize| gone.iter().filter_map(|identity| identity.get(n).cloned()).collect();
        let columns: Vec<Values> = (0..table.identity.len()).map(column).collect();
        let images: Vec<String> = come.into_iter().map(|row| row.image).collect();
        let session = guard.session(&self.name)?;
        Ok(apply(session, self.merchant, deletions, columns, statements.store(), images).await?)
    }

    pub(super) async fn last(&self, table: &Table, owner: Uuid) -> Result<Option<Values>, PostgresFault> {
        let sql = self.statements(table).last();
        let row = self.database.reads().row(sqlx::query(AssertSqlSafe(sql)).bind(owner)).await?;
        row.map(|row| values(&row, "k", table.key)).transpose()
    }

    pub(super) async fn count(&self, table: &Table, owner: Uuid) -> Result<u64, PostgresFault> {
        let sql = self.statements(table).count();
        let row = self.database.reads().row(sqlx::query(AssertSqlSafe(sql)).bind(owner)).await?;
        row.map_or(Ok(0), |row| row.number("rows"))
    }

    pub(super) async fn unsent(&self) -> Result<u64, PostgresFault> {
        let row = self.database.reads().row(sqlx::query(UNSENT).bind(self.merchant.0)).await?;
        row.map_or(Ok(0), |row| row.number("messages"))
    }

    fn statements<'a>(&'a self, table: &'a Table) -> Statements<'a> {
        let columns = self.columns.get(table.name).map_or(&[][..], Vec::as_slice);
        Statements { table, columns }
    }
}

/// `gone` are the identities to delete, column by column.
async fn apply(
    session: &mut PgConnection,
    merchant: MerchantId,
    deletions: Vec<String>,
    gone: Vec<Values>,
    insertion: String,
    images: Vec<String>,
) -> Result<(), PostgresFault> {
    let mut transaction = session.begin().await?;
    let state = transaction.fetch_optional(sqlx::query(USED).bind(merchant.0)).await?;
    if state
        .map(|row| MerchantState::of(get(&row, "state")?))
        .transpose()?
        .is_some_and(MerchantState::is_here)
    {
        return Err(PostgresFault::Corrupt(
            "rows of a merchant must not be replaced on its own shard".to_owned(),
        ));
    }
    for (n, sql) in deletions.iter().enumerate() {
        // Dependents are named by the first column of the identity alone.
        let columns = if n + 1 == deletions.len() { gone.len() } else { 1 };
        let query = sqlx::query(AssertSqlSafe(sql.clone()));
        transaction.execute(gone.iter().take(columns).fold(query, Query::bind)).await?;
    }
    if !images.is_empty() {
        let query = sqlx::query(AssertSqlSafe(insertion)).bind(images);
        transaction.execute(query).await?;
    }
    Ok(transaction.commit().await?)
}

fn bind(sql: &str, owner: Uuid, range: &Range, limit: u64) -> Query<'static> {
    let query = sqlx::query(AssertSqlSafe(sql.to_owned())).bind(owner);
    let ends = range.after.iter().chain(&range.upto).flatten();
    let query = ends.fold(query, |query, value| query.bind(value.clone()));
    query.bind(i64::try_from(limit).unwrap_or(i64::MAX))
}

fn values(row: &PgRow, prefix: &str, columns: &[Column]) -> Result<Values, PostgresFault> {
    (0..columns.len()).map(|n| get(row, &format!("{prefix}{n}"))).collect()
}
