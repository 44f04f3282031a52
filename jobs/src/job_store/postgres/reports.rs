//! Reports of runs.

use async_trait::async_trait;
use base::{Timestamp, ids::Uuid};
use sqlx::Row;

use super::{PostgresJobStore, engine_error};
use crate::{
    engine::EngineError,
    envelope::JobId,
    job_store::reports::{REPORTS_EXPIRED_MAX, RunReport, RunReports, newest, read},
    postgres::column,
};

const PUT: &str = "
    INSERT INTO jobs.run_reports AS held (job, started_at, report)
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[])
    ON CONFLICT (job) DO UPDATE SET started_at = EXCLUDED.started_at, report = EXCLUDED.report
    WHERE held.started_at <= EXCLUDED.started_at";
pub(super) const REPORTS: &str = "SELECT report FROM jobs.run_reports WHERE job = ANY($1) ORDER BY job";
pub(super) const EXPIRE_REPORTS: &str = "
    DELETE FROM jobs.run_reports WHERE job = ANY(ARRAY(
      SELECT job FROM jobs.run_reports WHERE started_at < $1 ORDER BY started_at LIMIT $2
      FOR UPDATE SKIP LOCKED))";

#[async_trait]
impl RunReports for PostgresJobStore {
    async fn put_reports(&self, reports: Vec<RunReport>) -> Result<(), EngineError> {
        let reports = newest(reports);
        let jobs: Vec<Uuid> = column(&reports, |report| report.job.0);
        let starts: Vec<i64> = column(&reports, |report| report.started_at.as_millisecond());
        // JSON has no NUL, which a text of the database cannot hold: it escapes it.
        let texts = reports.iter().map(serde_json::to_string);
        let texts: Vec<String> = texts.collect::<Result<_, _>>().map_err(engine_error)?;
        self.execute(|| sqlx::query(PUT).bind(&jobs).bind(&starts).bind(&texts)).await
    }

    async fn reports(&self, jobs: &[JobId]) -> Result<Vec<RunReport>, EngineError> {
        let jobs: Vec<Uuid> = column(jobs, |job| job.0);
        let rows = self.rows(|| sqlx::query(REPORTS).bind(&jobs)).await?;
        Ok(rows.iter().filter_map(|row| read(row.get("report"))).collect())
    }

    async fn expire_reports(&self, before: Timestamp) -> Result<u64, EngineError> {
        let (before, limit) = (before.as_millisecond(), i64::from(REPORTS_EXPIRED_MAX));
        self.run(async || {
            let expire = sqlx::query(EXPIRE_REPORTS).bind(before).bind(limit);
            Ok(self.database.run(expire).await?)
        })
        .await
    }
}
