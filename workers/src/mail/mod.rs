//! Mails to customers.
//!
//! Guarantees: one deterministic Message-ID per subject (an order or a customer) and template, and one per token of a
//! mail that has one; text and HTML have the same content; no text in names and addresses can add headers, recipients
//! or markup. Errors name codes, never addresses or contents.
//! Does not remember sent mails: the jobs do, see [`crate::jobs::SendEmail`].

mod amount;
mod file;
mod smtp;
mod view;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use async_trait::async_trait;
use base::{Timestamp, chars::is_format};
use lettre::{Address, Message, message::Mailbox, message::MultiPart};
use serde::{Deserialize, Serialize};
use store::{customers::Account, domain::Order, token::Token, verifications::Verification};
use url::Url;

pub use amount::format_amount;
pub use smtp::{SmtpConfig, SmtpSecurity};

/// Composes and sends mails; clones share the connections.
#[derive(Clone)]
pub struct Mailer {
    transport: Transport,
    from: Mailbox,
    storefront: Option<Url>,
}

#[derive(Clone)]
enum Transport {
    File(file::FileTransport),
    Smtp(smtp::SmtpTransport),
    Other(Arc<dyn MailTransport>),
}

/// Transport in place of files and SMTP, for simulations.
#[async_trait]
pub trait MailTransport: Send + Sync + 'static {
    /// Hands a composed mail over.
    async fn send(&self, message: &Message) -> Result<(), MailError>;
}

/// The mails about orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Template {
    /// The order is paid; lists its items.
    OrderConfirmation,
    /// The payment was declined for good.
    PaymentFailed,
    /// The order is cancelled.
    OrderCancelled,
    /// The order is fully refunded.
    OrderRefunded,
}

impl Template {
    /// All templates.
    pub const ALL: [Self; 4] =
        [Self::OrderConfirmation, Self::PaymentFailed, Self::OrderCancelled, Self::OrderRefunded];

    /// The name in records, payloads, Message-IDs and file names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrderConfirmation => "order_confirmation",
            Self::PaymentFailed => "payment_failed",
            Self::OrderCancelled => "order_cancelled",
            Self::OrderRefunded => "order_refunded",
        }
    }
}

/// A mail about an order.
#[derive(Debug, Clone, Copy)]
pub struct OrderMail<'a> {
    /// The order, its customer the recipient.
    pub order: &'a Order,
    /// Template of the mail.
    pub template: Template,
    /// The merchant's display name.
    pub shop: &'a str,
}

/// The template of [`WelcomeMail`], as [`Template::as_str`].
pub const WELCOME: &str = "welcome";

/// A mail to a customer who has registered.
#[derive(Debug, Clone, Copy)]
pub struct WelcomeMail<'a> {
    /// The recipient.
    pub account: &'a Account,
    /// The merchant's display name.
    pub shop: &'a str,
}

/// A mail with the token that verifies an address.
#[derive(Debug, Clone, Copy)]
pub struct VerificationMail<'a> {
    /// The verification request; its address is the recipient.
    pub verification: &'a Verification,
    /// The account of the address, if it has one.
    pub account: Option<&'a Account>,
    /// The token, shown unless the mail only says that the account exists.
    pub token: &'a Token,
    /// The merchant's display name.
    pub shop: &'a str,
}

impl VerificationMail<'_> {
    /// Whether the mail says that the address has an account already.
    fn is_known(&self) -> bool {
        self.account.is_some() && !self.verification.purpose.is_reset()
    }
}

/// All kinds of mails.
#[derive(Debug, Clone, Copy)]
pub enum Mail<'a> {
    /// About an order.
    Order(OrderMail<'a>),
    /// After registering.
    Welcome(WelcomeMail<'a>),
    /// Before an account or a new password is valid.
    Verification(VerificationMail<'a>),
}

impl Mail<'_> {
    /// Id of the order, customer or verification that the mail is about.
    pub fn subject(&self) -> String {
        match self {
            Self::Order(mail) => mail.order.id.to_string(),
            Self::Welcome(mail) => mail.account.id.to_string(),
            Self::Verification(mail) => mail.verification.id.to_string(),
        }
    }

    /// The template's name.
    pub fn template(&self) -> &'static str {
        match self {
            Self::Order(mail) => mail.template.as_str(),
            Self::Welcome(_) => WELCOME,
            Self::Verification(mail) if mail.is_known() => "account_exists",
            Self::Verification(mail) if mail.verification.purpose.is_reset() => "password_reset",
            Self::Verification(_) => "verify_address",
        }
    }

    /// Address and name. The name is left out until the address is verified: another person may have entered it.
    fn recipient(&self) -> (&str, &str) {
        let customer = match self {
            Self::Order(mail) => &mail.order.customer,
            Self::Welcome(mail) => &mail.account.customer,
            Self::Verification(VerificationMail { account: Some(account), .. }) => &account.customer,
            Self::Verification(mail) => return (&mail.verification.email, ""),
        };
        (&customer.email, &customer.name)
    }
}

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

impl Mailer {
    /// Writes each mail to `folder` as `<subject>.<template>.eml`; for trying out and development.
    pub fn file(folder: impl Into<PathBuf>, from: &str) -> Result<Self, MailSetupError> {
        let transport = Transport::File(file::FileTransport::new(folder.into())?);
        Ok(Self { transport, from: sender(from)?, storefront: None })
    }

    /// Sends through an SMTP server; connects only when used.
    pub fn smtp(config: &SmtpConfig, from: &str) -> Result<Self, MailSetupError> {
        let from = sender(from)?;
        let transport = smtp::SmtpTransport::new(config).map_err(MailSetupError::Tls)?;
        Ok(Self { transport: Transport::Smtp(transport), from, storefront: None })
    }

    /// Sends through another transport; composing stays.
    pub fn through(transport: Arc<dyn MailTransport>, from: &str) -> Result<Self, MailSetupError> {
        Ok(Self { transport: Transport::Other(transport), from: sender(from)?, storefront: None })
    }

    /// Shows tokens as links into this storefront: `/account/verify?token=…` and `/account/reset?token=…` below it.
    #[must_use]
    pub fn linking_to(self, storefront: Option<Url>) -> Self {
        Self { storefront, ..self }
    }

    /// The Message-ID of a mail, the same for every repetition. Another token gives another Message-ID: a mail system
    /// that drops repetitions would otherwise keep the mail with the invalid token.
    pub fn message_id(&self, mail: &Mail<'_>) -> String {
        let token = match mail {
            Mail::Verification(mail) => format!(".{:016x}", mark(mail.token)),
            _ => String::new(),
        };
        format!("<{}.{}{token}@{}>", mail.subject(), mail.template(), self.from.email.domain())
    }

    /// Hands a mail over, dated `at`.
    pub async fn send(&self, mail: &Mail<'_>, at: Timestamp) -> Result<(), MailError> {
        let message = self.compose(mail, at)?;
        match &self.transport {
            Transport::File(transport) => transport.send(mail, &message).await,
            Transport::Smtp(transport) => transport.send(message).await,
            Transport::Other(transport) => transport.send(&message).await,
        }
    }

    fn compose(&self, mail: &Mail<'_>, at: Timestamp) -> Result<Message, MailError> {
        let (email, name) = mail.recipient();
        let address: Address = email.parse().map_err(|_| MailError::Address)?;
        let name = one_line(name);
        let recipient = Mailbox::new((!name.is_empty()).then_some(name), address);
        let shown = view::render(mail, self.storefront.as_ref()).map_err(|_| MailError::Compose)?;
        Message::builder()
            .from(self.from.clone())
            .to(recipient)
            .date(UNIX_EPOCH + Duration::from_millis(u64::try_from(at.as_millisecond()).unwrap_or(0)))
            .message_id(Some(self.message_id(mail)))
            .subject(one_line(&shown.subject))
            .multipart(MultiPart::alternative_plain_html(shown.text, shown.html))
            .map_err(|_| MailError::Compose)
    }
}

fn sender(from: &str) -> Result<Mailbox, MailSetupError> {
    from.parse().map_err(|_| MailSetupError::From(from.to_owned()))
}

/// A part of the hash of a token: tells tokens apart without revealing them.
fn mark(token: &Token) -> u64 {
    token.hash().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// The text without line breaks, control and format characters, which have no place in a header or a name:
/// bidirectional controls would reverse the text that a mail program shows beside it.
fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !is_format(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn header_texts_hold_no_format_characters() {
        let sent = "Mug \u{202e}gum\u{2069}\r\nBcc: x\u{200b}\u{feff}\u{2028}\u{e0041}";
        assert_eq!(one_line(sent), "Mug gumBcc: x");
    }
}
