//! Reports of runs.

use async_trait::async_trait;
use base::Timestamp;

use super::{SqliteJobStore, engine_error, ids_json};
use crate::{
    engine::EngineError,
    envelope::JobId,
    job_store::reports::{REPORTS_EXPIRED_MAX, RunReport, RunReports, newest, read},
};

const PUT: &str = "
    INSERT INTO run_reports (job, started_at, report) VALUES (?1, ?2, ?3)
    ON CONFLICT (job) DO UPDATE SET started_at = excluded.started_at, report = excluded.report
    WHERE run_reports.started_at <= excluded.started_at";

#[async_trait]
impl RunReports for SqliteJobStore {
    async fn put_reports(&self, reports: Vec<RunReport>) -> Result<(), EngineError> {
        let mut rows = Vec::with_capacity(reports.len());
        for report in newest(reports) {
            let text = serde_json::to_string(&report).map_err(engine_error)?;
            rows.push((report.job.to_string(), report.started_at.as_millisecond(), text));
        }
        self.write(move |c| {
            Box::pin(async move {
                for (job, started_at, text) in rows {
                    sqlx::query(PUT).bind(job).bind(started_at).bind(text).execute(&mut *c).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn reports(&self, jobs: &[JobId]) -> Result<Vec<RunReport>, EngineError> {
        let reports = sqlx::query_scalar(
            "SELECT report FROM run_reports WHERE job IN (SELECT value FROM json_each(?1)) ORDER BY job",
        );
        let reports = reports.bind(ids_json(jobs)).fetch_all(self.database.readers());
        let rows: Vec<String> = reports.await.map_err(engine_error)?;
        Ok(rows.iter().filter_map(|report| read(report)).collect())
    }

    async fn expire_reports(&self, before: Timestamp) -> Result<u64, EngineError> {
        let expire = sqlx::query(
            "DELETE FROM run_reports WHERE job IN (
               SELECT job FROM run_reports WHERE started_at < ?1 ORDER BY started_at LIMIT ?2)",
        );
        let expire = expire.bind(before.as_millisecond()).bind(REPORTS_EXPIRED_MAX);
        self.write(move |c| Box::pin(async move { Ok(expire.execute(c).await?.rows_affected()) })).await
    }
}
