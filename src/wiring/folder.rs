//! Data folder: its creation, and the lock of the server that runs over it.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

pub(super) fn queue(folder: &Path) -> PathBuf {
    folder.join("queue.db")
}

pub(crate) fn create(folder: &Path) -> anyhow::Result<()> {
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

pub(super) fn unusable(folder: &Path) -> String {
    format!("the data folder {} cannot be used", folder.display())
}
