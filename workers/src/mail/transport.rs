//! The contract of mail transports.

use async_trait::async_trait;
use lettre::Message;

use super::{error::MailError, kind::Mail};

/// Transport of mails: files, SMTP, or that of a simulation.
#[async_trait]
pub trait MailTransport: Send + Sync + 'static {
    /// Hands a mail over, composed as `message`.
    async fn send(&self, mail: &Mail<'_>, message: Message) -> Result<(), MailError>;
}
