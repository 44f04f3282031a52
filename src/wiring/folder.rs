//! Data folder: its creation, its permissions, and the lock of the server that runs over it.
//!
//! Guarantees: what a process creates is accessible to its user only, whatever its umask was; a folder of an earlier
//! release, and our files in it, become so (CWE-732). Folders that all users share, such as `/tmp`, are left open.

use std::{
    ffi::OsStr,
    fs::{self, File, Permissions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use rustix::{fs::Mode, process::umask};

use crate::config::{OrdersEngine, QueueEngine};

/// What processes keep in the folder; SQLite adds `-wal` and `-shm` to the names of its files.
const OURS: [&str; 11] = [
    "demo-keys.json",
    "jobs.db",
    "mail",
    "orders.db",
    "orderworks.lock",
    "payments.db",
    "provider.db",
    "queue.db",
    "records.db",
    "sessions.db",
    "sessions.lock",
];
const OTHERS: u32 = 0o077;
const STICKY: u32 = 0o1000;

pub(super) fn queue(folder: &Path) -> PathBuf {
    folder.join("queue.db")
}

pub(super) fn job_store(folder: &Path) -> PathBuf {
    folder.join("jobs.db")
}

/// Lets only this user access what the process creates from now on. Called before there are threads.
pub(crate) fn make_new_files_private() {
    umask(Mode::RWXG | Mode::RWXO);
}

pub(crate) fn create(folder: &Path) -> anyhow::Result<()> {
    let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    created.with_context(|| unusable(folder))?;
    if let Err(error) = make_private(folder) {
        // The folder belongs to another user, as volumes do; new files are private all the same.
        tracing::warn!(folder = %folder.display(), %error, "data folder readable by others: chmod 700");
    }
    Ok(())
}

/// Takes the permissions of others from the folder and from our files in it.
fn make_private(folder: &Path) -> io::Result<()> {
    restrict(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if is_ours(&entry.file_name()) {
            restrict(&entry.path())?;
        }
    }
    Ok(())
}

fn is_ours(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let base = name.strip_suffix("-wal").or_else(|| name.strip_suffix("-shm")).unwrap_or(name);
    OURS.contains(&base)
}

/// Leaves folders that all users share (sticky) as they are. A file may vanish meanwhile.
fn restrict(path: &Path) -> io::Result<()> {
    let restricted = fs::metadata(path).and_then(|found| {
        let mode = found.permissions().mode();
        if mode & OTHERS == 0 || mode & STICKY != 0 {
            return Ok(());
        }
        fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS & 0o7777))
    });
    match restricted {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        restricted => restricted,
    }
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

/// Requires a file that a server has created in the folder: commands beside a server create none.
pub(super) fn require(folder: &Path, file: &Path) -> anyhow::Result<()> {
    if file.exists() {
        return Ok(());
    }
    bail!(
        "there is no data in {}: start `orderworks dev` there first, or choose another --data",
        folder.display()
    );
}

/// Requires the file of the queue, where it is in a file.
pub(super) fn require_data(queue_engine: &QueueEngine) -> anyhow::Result<()> {
    match queue_engine {
        QueueEngine::Sqlite { folder } => require(folder, &queue(folder)),
        QueueEngine::RabbitMq { .. } => Ok(()),
    }
}

/// Requires the file of the orders, where they are in a file.
pub(super) fn require_orders(orders_engine: &OrdersEngine) -> anyhow::Result<()> {
    match orders_engine {
        OrdersEngine::Sqlite { folder } => require(folder, &folder.join("orders.db")),
        OrdersEngine::Postgres(_) => Ok(()),
    }
}

pub(super) fn unusable(folder: &Path) -> String {
    format!("the data folder {} cannot be used", folder.display())
}
