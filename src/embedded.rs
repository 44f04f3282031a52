//! The embedded mode: engines on SQLite files in one folder, held by one process at a time.
//!
//! Guarantees: two servers never share a folder (an exclusive lock, released by the kernel when its holder dies);
//! looking at a folder creates nothing. Does not start anything, see [`crate::commands`].

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use base::Ambient;
use jobs::sqlite::SqliteEngine;
use store::sqlite::{SqliteOrders, SqlitePayments};

/// The files of one folder, opened for serving.
pub(crate) struct Embedded {
    pub(crate) orders: SqliteOrders,
    pub(crate) payments: SqlitePayments,
    pub(crate) queue: SqliteEngine,
    pub(crate) folder: PathBuf,
    /// Held as long as this lives.
    _lock: File,
}

impl Embedded {
    /// Creates the folder where needed, locks it, opens and migrates its files, and takes back the jobs that a dead
    /// predecessor held.
    pub(crate) async fn open(folder: &Path, ambient: &Ambient) -> anyhow::Result<Self> {
        let writable = || format!("the data folder {} cannot be used", folder.display());
        fs::create_dir_all(folder).with_context(writable)?;
        let lock = File::create(folder.join("orderworks.lock")).with_context(writable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "another orderworks process runs over {}; stop it or choose another --data",
                    folder.display()
                )
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(writable),
        }
        let orders = SqliteOrders::open(&folder.join("orders.db"), ambient.clone()).await?;
        let payments = SqlitePayments::open(&folder.join("payments.db"), ambient.clone()).await?;
        let queue = SqliteEngine::open(&queue_file(folder), ambient.clone()).await?;
        // The lock is ours, so whoever holds leases in this file is dead: no need to wait for them to run out.
        let orphans = queue.recover_orphans().await?;
        if orphans > 0 {
            tracing::info!(jobs = orphans, "took back jobs of a process that died");
        }
        Ok(Self { orders, payments, queue, folder: folder.to_owned(), _lock: lock })
    }
}

/// The queue of a folder, for looking and steering beside a running server, or without one.
pub(crate) async fn open_queue(folder: &Path) -> anyhow::Result<SqliteEngine> {
    let file = queue_file(folder);
    if !file.exists() {
        bail!(
            "there is no data in {}: start `orderworks dev` there first, or choose another --data",
            folder.display()
        );
    }
    Ok(SqliteEngine::open(&file, Ambient::system()).await?)
}

fn queue_file(folder: &Path) -> PathBuf {
    folder.join("queue.db")
}
