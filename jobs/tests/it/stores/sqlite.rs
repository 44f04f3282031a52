//! SQLite files against the suites of job store and record store.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use base::Ambient;
use orderworks_jobs::{
    conformance::{job_store::StoreHarness, records::RecordHarness},
    job_store::{JobStore, SqliteJobStore},
    records::RecordStore,
    sqlite::SqliteRecords,
};
use sqlx::{ConnectOptions, Executor, sqlite::SqliteConnectOptions};

struct Files {
    folder: tempfile::TempDir,
    store: SqliteJobStore,
    records: SqliteRecords,
}

impl Files {
    async fn create() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (store, records) = (open_store(folder.path()).await, open_records(folder.path()).await);
        Self { folder, store, records }
    }
}

async fn open_store(folder: &Path) -> SqliteJobStore {
    SqliteJobStore::open(&folder.join("jobs.db"), Ambient::system()).await.expect("opens")
}

async fn open_records(folder: &Path) -> SqliteRecords {
    SqliteRecords::open(&folder.join("records.db")).await.expect("opens")
}

async fn alter(file: &Path, statement: &'static str) {
    let mut other = SqliteConnectOptions::new().filename(file).connect().await.expect("connects");
    other.execute(statement).await.expect("alters");
}

#[async_trait]
impl StoreHarness for Files {
    async fn start() -> Self {
        Self::create().await
    }

    fn store(&self) -> Arc<dyn JobStore> {
        Arc::new(self.store.clone())
    }

    async fn second(&self) -> Arc<dyn JobStore> {
        Arc::new(open_store(self.folder.path()).await)
    }

    async fn break_schema(&self) {
        alter(&self.folder.path().join("jobs.db"), "ALTER TABLE scheduled RENAME COLUMN due_at TO due").await;
    }

    async fn spoil_scheduled(&self) {
        alter(&self.folder.path().join("jobs.db"), "UPDATE scheduled SET envelope = '{'").await;
    }

    async fn fill_cancels(&self) {
        let fill = "
            WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 9999)
            INSERT INTO cancel_requests (job, reason, requested_at)
            SELECT 'job_00000000-0000-7000-8000-' || printf('%012d', n), 'many', 1780000000000 FROM numbers";
        alter(&self.folder.path().join("jobs.db"), fill).await;
    }
}

#[async_trait]
impl RecordHarness for Files {
    async fn start() -> Self {
        Self::create().await
    }

    fn records(&self) -> Arc<dyn RecordStore> {
        Arc::new(self.records.clone())
    }

    async fn second(&self) -> Arc<dyn RecordStore> {
        Arc::new(open_records(self.folder.path()).await)
    }

    async fn break_schema(&self) {
        alter(&self.folder.path().join("records.db"), "ALTER TABLE attempts RENAME COLUMN worker TO by")
            .await;
    }
}

mod job_store {
    use super::Files;

    orderworks_jobs::job_store_conformance_tests!(Files);
}

mod records {
    use super::Files;

    orderworks_jobs::record_conformance_tests!(Files);
}
