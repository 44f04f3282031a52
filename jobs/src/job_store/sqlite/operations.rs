//! Bulk operations.

use async_trait::async_trait;
use base::Timestamp;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{SqliteJobStore, engine_error};
use crate::{
    engine::EngineError,
    id::OperationId,
    job_store::{
        OPERATIONS_ENDED_MAX, OPERATIONS_OPEN_MAX, OperationRow, OperationState, Operations,
        row::{self, operation_columns},
    },
    sqlite::fault::SqliteFault,
};

const EXPIRE: &str = "
    DELETE FROM operations WHERE (state = 'previewed' AND created_at < ?1)
      OR (state IN ('cancelled', 'done', 'failed') AND created_at < ?2)";
const TRIM: &str = "
    DELETE FROM operations WHERE id IN (
      SELECT id FROM operations WHERE state IN ('cancelled', 'done', 'failed') ORDER BY id DESC LIMIT -1 OFFSET ?1)";
const OPEN: &str = "SELECT count(*) FROM operations WHERE state IN ('previewed', 'running')";
const ADD: &str =
    "INSERT INTO operations (id, state, created_at, content, version) VALUES (?1, ?2, ?3, ?4, 0)";
const LIST: &str = concat!(
    "SELECT ",
    operation_columns!(),
    " FROM operations WHERE ?1 IS NULL OR state = ?1 ORDER BY id DESC LIMIT ?2"
);
const FIND: &str = concat!("SELECT ", operation_columns!(), " FROM operations WHERE id = ?1");
const PUT: &str =
    "UPDATE operations SET state = ?3, content = ?4, version = version + 1 WHERE id = ?1 AND version = ?2";

fn operation(row: &SqliteRow) -> Option<OperationRow> {
    row::operation(row, row.get::<String, _>("id").parse().ok()?)
}

#[async_trait]
impl Operations for SqliteJobStore {
    async fn add_operation(
        &self,
        operation: OperationRow,
        previews_before: Timestamp,
        ended_before: Timestamp,
    ) -> Result<bool, EngineError> {
        let times = (previews_before.as_millisecond(), ended_before.as_millisecond());
        self.write(move |c| Box::pin(add(c, operation, times))).await
    }

    async fn operations(&self, state: Option<OperationState>) -> Result<Vec<OperationRow>, EngineError> {
        let list = sqlx::query(LIST).bind(state.map(OperationState::as_str));
        let list = list.bind(OPERATIONS_OPEN_MAX + OPERATIONS_ENDED_MAX);
        let rows: Vec<SqliteRow> = list.fetch_all(self.database.readers()).await.map_err(engine_error)?;
        Ok(rows.iter().filter_map(operation).collect())
    }

    async fn find_operation(&self, id: OperationId) -> Result<Option<OperationRow>, EngineError> {
        let found = sqlx::query(FIND).bind(id.to_string()).fetch_optional(self.database.readers()).await;
        Ok(found.map_err(engine_error)?.as_ref().and_then(operation))
    }

    async fn put_operation(&self, operation: &OperationRow) -> Result<bool, EngineError> {
        let put = sqlx::query(PUT).bind(operation.id.to_string()).bind(operation.version);
        self.changes(put.bind(operation.state.as_str()).bind(operation.content.clone())).await
    }
}

async fn add(
    c: &mut SqliteConnection,
    operation: OperationRow,
    (previews_before, ended_before): (i64, i64),
) -> Result<bool, SqliteFault> {
    sqlx::query(EXPIRE).bind(previews_before).bind(ended_before).execute(&mut *c).await?;
    sqlx::query(TRIM).bind(OPERATIONS_ENDED_MAX).execute(&mut *c).await?;
    let open: i64 = sqlx::query_scalar(OPEN).fetch_one(&mut *c).await?;
    if open >= i64::from(OPERATIONS_OPEN_MAX) {
        return Ok(false);
    }
    let add = sqlx::query(ADD).bind(operation.id.to_string()).bind(operation.state.as_str());
    add.bind(operation.created_at.as_millisecond()).bind(operation.content).execute(c).await?;
    Ok(true)
}
