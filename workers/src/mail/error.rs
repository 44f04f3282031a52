//! Errors of mails: at set-up, and of one mail.

use std::path::PathBuf;

/// The mailer cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailSetupError {
    /// The sender is no mail address such as `Shop <orders@example.org>`.
    #[error("`{0}` is not a mail address such as `Shop <orders@example.org>`")]
    From(String),
    /// The folder for mails cannot be made.
    #[error("cannot create the mail folder {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// TLS for SMTP cannot be set up.
    #[error("cannot set up TLS for SMTP")]
    Tls(#[source] lettre::transport::smtp::Error),
}

/// A mail was not handed over, as far as known. The texts are stable codes and name no data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MailError {
    /// The customer's address is invalid.
    #[error("mail_address_invalid")]
    Address,
    /// The message cannot be composed.
    #[error("mail_not_composable")]
    Compose,
    /// The server rejected this mail permanently.
    #[error("smtp_refused_{status}")]
    Refused {
        /// The reply code, 5xx.
        status: u16,
    },
    /// The server rejected our credentials.
    #[error("smtp_authentication_{status}")]
    Authentication {
        /// The reply code.
        status: u16,
    },
    /// The server cannot take the mail now.
    #[error("smtp_busy_{status}")]
    Busy {
        /// The reply code.
        status: u16,
    },
    /// The server was not reached, or the connection broke: it may have taken the mail.
    #[error("{0}")]
    Connection(&'static str),
    /// The file could not be written.
    #[error("mail_file: {0}")]
    File(std::io::ErrorKind),
}

impl MailError {
    /// Whether sending it again cannot help.
    pub const fn is_permanent(&self) -> bool {
        matches!(self, Self::Address | Self::Compose | Self::Refused { .. })
    }
}
