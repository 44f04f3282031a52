//! Engines in files of the data folder.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use base::Ambient;
use cache::{Sessions, SqliteSessions};
use jobs::sqlite::SqliteEngine;
use store::PaymentStore;
use store_sqlite::SqlitePayments;

pub(super) fn queue(folder: &Path) -> PathBuf {
    folder.join("queue.db")
}

pub(super) fn make_folder(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| unusable(folder))
}

/// Locks the folder against a second server.
pub(super) fn lock(folder: &Path) -> anyhow::Result<File> {
    let lock = File::create(folder.join("orderworks.lock")).with_context(|| unusable(folder))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => bail!(
            "another orderworks process runs over {}; stop it or choose another --data",
            folder.display()
        ),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| unusable(folder)),
    }
}

/// The queue of a folder locked by this process. Every lease in it belongs to a dead process, so the jobs are reclaimed
/// without waiting for the leases to expire.
pub(super) async fn open_queue(folder: &Path, ambient: &Ambient) -> anyhow::Result<SqliteEngine> {
    let engine = SqliteEngine::open(&queue(folder), ambient.clone()).await?;
    let orphans = engine.recover_orphans().await?;
    if orphans > 0 {
        tracing::info!(jobs = orphans, "jobs of a dead process reclaimed");
    }
    Ok(engine)
}

pub(super) async fn payments(folder: &Path, ambient: &Ambient) -> anyhow::Result<Arc<dyn PaymentStore>> {
    Ok(Arc::new(SqlitePayments::open(&folder.join("payments.db"), ambient.clone()).await?))
}

/// Several processes of one machine may share the file, so a lock serialises its creation.
pub(super) async fn sessions(folder: &Path, ambient: &Ambient) -> anyhow::Result<Arc<dyn Sessions>> {
    let turn = File::create(folder.join("sessions.lock")).with_context(|| unusable(folder))?;
    let turn = tokio::task::spawn_blocking(move || turn.lock().map(|()| turn)).await?;
    let _turn = turn.with_context(|| unusable(folder))?;
    Ok(Arc::new(SqliteSessions::open(&folder.join("sessions.db"), ambient.clone()).await?))
}

fn unusable(folder: &Path) -> String {
    format!("the data folder {} cannot be used", folder.display())
}
