//! Bulk operations.

use async_trait::async_trait;
use base::Timestamp;
use sqlx::{Executor, Row, postgres::PgRow};

use super::PostgresJobStore;
use crate::{
    engine::EngineError,
    id::OperationId,
    job_store::{
        OPERATIONS_ENDED_MAX, OPERATIONS_OPEN_MAX, OperationRow, OperationState, Operations,
        row::{self, operation_columns},
    },
};

/// Processes that add an operation wait for each other: each counts those before it.
const LOCK: &str = "LOCK TABLE jobs.operations IN SHARE ROW EXCLUSIVE MODE";
const EXPIRE: &str = "
    DELETE FROM jobs.operations WHERE (state = 'previewed' AND created_at < $1)
      OR (state IN ('cancelled', 'done', 'failed') AND created_at < $2)";
const TRIM: &str = "
    DELETE FROM jobs.operations WHERE id IN (
      SELECT id FROM jobs.operations WHERE state IN ('cancelled', 'done', 'failed') ORDER BY id DESC OFFSET $1)";
const OPEN: &str = "SELECT count(*) FROM jobs.operations WHERE state IN ('previewed', 'running')";
const ADD: &str =
    "INSERT INTO jobs.operations (id, state, created_at, content, version) VALUES ($1, $2, $3, $4, 0)";
const LIST: &str = concat!(
    "SELECT ",
    operation_columns!(),
    " FROM jobs.operations WHERE $1::text IS NULL OR state = $1 ORDER BY id DESC LIMIT $2"
);
const FIND: &str = concat!("SELECT ", operation_columns!(), " FROM jobs.operations WHERE id = $1");
const PUT: &str = "
    UPDATE jobs.operations SET state = $3, content = $4, version = version + 1 WHERE id = $1 AND version = $2";

fn operation(row: &PgRow) -> Option<OperationRow> {
    row::operation(row, OperationId(row.get("id")))
}

#[async_trait]
impl Operations for PostgresJobStore {
    async fn add_operation(
        &self,
        operation: OperationRow,
        previews_before: Timestamp,
        ended_before: Timestamp,
    ) -> Result<bool, EngineError> {
        let (previews, ended) = (previews_before.as_millisecond(), ended_before.as_millisecond());
        self.run(async || {
            let mut tx = self.database.begin().await?;
            tx.execute(sqlx::raw_sql(LOCK)).await?;
            self.database.query(EXPIRE).bind(previews).bind(ended).execute(&mut *tx).await?;
            self.database.query(TRIM).bind(i64::from(OPERATIONS_ENDED_MAX)).execute(&mut *tx).await?;
            let open = self.database.query(OPEN).fetch_one(&mut *tx).await?;
            let has_room = open.get::<i64, _>(0) < i64::from(OPERATIONS_OPEN_MAX);
            if has_room {
                let add = self.database.query(ADD).bind(operation.id.0).bind(operation.state.as_str());
                let add = add.bind(operation.created_at.as_millisecond()).bind(&operation.content);
                add.execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(has_room)
        })
        .await
    }

    async fn operations(&self, state: Option<OperationState>) -> Result<Vec<OperationRow>, EngineError> {
        let most = i64::from(OPERATIONS_OPEN_MAX + OPERATIONS_ENDED_MAX);
        let list = || sqlx::query(LIST).bind(state.map(OperationState::as_str)).bind(most);
        Ok(self.rows(list).await?.iter().filter_map(operation).collect())
    }

    async fn find_operation(&self, id: OperationId) -> Result<Option<OperationRow>, EngineError> {
        Ok(self.rows(|| sqlx::query(FIND).bind(id.0)).await?.first().and_then(operation))
    }

    async fn put_operation(&self, operation: &OperationRow) -> Result<bool, EngineError> {
        self.run(async || {
            let put = sqlx::query(PUT).bind(operation.id.0).bind(operation.version);
            let put = put.bind(operation.state.as_str()).bind(&operation.content);
            Ok(self.database.run(put).await? == 1)
        })
        .await
    }
}
