//! Mail transport to files, one per subject and template: a mail sent again after a crash overwrites itself.

use std::{
    io,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use lettre::Message;
use tokio::io::AsyncWriteExt;

use super::{
    error::{MailError, MailSetupError},
    kind::Mail,
    transport::MailTransport,
};

pub(super) struct FileTransport {
    folder: PathBuf,
}

impl FileTransport {
    pub(super) fn new(folder: PathBuf) -> Result<Self, MailSetupError> {
        match std::fs::create_dir_all(&folder) {
            Ok(()) => Ok(Self { folder }),
            Err(source) => Err(MailSetupError::Folder { path: folder, source }),
        }
    }
}

#[async_trait]
impl MailTransport for FileTransport {
    async fn send(&self, mail: &Mail<'_>, message: Message) -> Result<(), MailError> {
        let name = format!("{}.{}.eml", mail.subject(), mail.template());
        let result = write_whole(&self.folder, &name, &message.formatted()).await;
        result.map_err(|error| MailError::File(error.kind()))
    }
}

/// Writes the whole file or none: readers never see a part of it.
async fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!(".{name}.part"));
    let mut file = tokio::fs::File::create(&temporary).await?;
    file.write_all(bytes).await?;
    file.sync_all().await?;
    tokio::fs::rename(&temporary, folder.join(name)).await
}
