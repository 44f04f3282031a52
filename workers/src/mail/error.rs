//! Errors of mails: at set-up, and of one mail.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MailSetupError {
    #[error(
        "`{0}` is not a mail address such as `Shop <orders@example.org>`, with ASCII letters before the @"
    )]
    From(String),
    #[error("cannot create the mail folder {path}")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("cannot set up TLS for SMTP")]
    Tls(#[source] lettre::transport::smtp::Error),
}

/// A mail was not handed over, as far as known. The texts are stable codes and name no data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MailError {
    #[error("mail_address_invalid")]
    Address,
    /// The local part has letters beyond ASCII, and the mail server has no SMTPUTF8 (RFC 6531).
    #[error("smtputf8_unsupported")]
    SmtpUtf8,
    #[error("mail_not_composable")]
    Compose,
    /// The server rejected this mail permanently, with a reply code 5xx.
    #[error("smtp_refused_{status}")]
    Refused { status: u16 },
    #[error("smtp_authentication_{status}")]
    Authentication { status: u16 },
    #[error("smtp_busy_{status}")]
    Busy { status: u16 },
    /// The server was not reached, or the connection broke: it may have taken the mail.
    #[error("{0}")]
    Connection(&'static str),
    #[error("mail_file: {0}")]
    File(std::io::ErrorKind),
}

impl MailError {
    /// Whether sending it again cannot help.
    pub const fn is_permanent(&self) -> bool {
        matches!(self, Self::Address | Self::SmtpUtf8 | Self::Compose | Self::Refused { .. })
    }

    /// Whether it is about the mail server (or folder) and not about this mail. 421: the server is shutting down.
    pub const fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Connection(_) | Self::Authentication { .. } | Self::Busy { status: 421 } | Self::File(_)
        )
    }
}
