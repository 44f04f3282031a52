//! Mails to customers.
//!
//! Guarantees: one deterministic Message-ID per subject (an order or a customer) and template, and one per token of a
//! mail that has one; text and HTML have the same content; no text in names and addresses can add headers, recipients
//! or markup, or reorder the text beside it; domains are in A-labels, as not every mail server has SMTPUTF8; each mail
//! says that a program sent it.
//! Errors name codes, never addresses or contents.
//! Does not remember sent mails: the jobs do, see [`crate::jobs::SendEmail`].

mod amount;
mod error;
mod file;
mod kind;
mod smtp;
mod transport;
mod view;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use base::{Timestamp, chars::isolated};
use lettre::{
    Address, Message,
    address::Envelope,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
};
use store::{domain::with_ascii_domain, token::Token};
use url::Url;

use self::kind::KINDS;
use crate::counts::Counts;

pub use amount::format_amount;
pub use error::{MailError, MailSetupError};
pub use kind::{Mail, Template, WELCOME};
pub use smtp::{SmtpConfig, SmtpSecurity};
pub use transport::MailTransport;

/// Tells programs that no person wrote the mail, so that they do not answer it (RFC 3834, section 5.1).
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

/// Outcomes of a mail: the mail server took it, refused it for good, was not reached, or postponed it.
const OUTCOMES: [&str; 4] = ["sent", "rejected", "unreachable", "postponed"];

/// Composes and sends mails; clones share the connections.
#[derive(Clone)]
pub struct Mailer {
    transport: Arc<dyn MailTransport>,
    from: Mailbox,
    storefront: Option<Url>,
    /// Whether the last mail found the server unreachable.
    is_away: Arc<AtomicBool>,
    /// Mails by template and outcome.
    counts: Arc<Counts<2>>,
}

impl Mailer {
    /// Writes each mail to `folder` as `<subject>.<template>.eml`; for trying out and development.
    pub fn file(folder: impl Into<PathBuf>, from: &str) -> Result<Self, MailSetupError> {
        Self::through(Arc::new(file::FileTransport::new(folder.into())?), from)
    }

    /// Sends through an SMTP server; connects only when used.
    pub fn smtp(config: &SmtpConfig, from: &str) -> Result<Self, MailSetupError> {
        Self::through(Arc::new(smtp::SmtpTransport::new(config).map_err(MailSetupError::Tls)?), from)
    }

    pub fn through(transport: Arc<dyn MailTransport>, from: &str) -> Result<Self, MailSetupError> {
        let mailbox = from.parse::<Mailbox>().ok().and_then(|from| {
            let email = ascii_domain(from.email.as_ref())?;
            email.user().is_ascii().then(|| Mailbox::new(from.name, email))
        });
        let from = mailbox.ok_or_else(|| MailSetupError::From(from.to_owned()))?;
        let series = KINDS.into_iter().flat_map(|kind| OUTCOMES.map(|outcome| [kind, outcome]));
        let counts = Arc::new(Counts::new(series));
        Ok(Self { transport, from, storefront: None, is_away: Arc::default(), counts })
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
            Mail::Verification { token, .. } => format!(".{:016x}", mark(token)),
            _ => String::new(),
        };
        format!("<{}.{}{token}@{}>", mail.subject(), mail.template(), self.from.email.domain())
    }

    /// Hands a mail over, dated `at`.
    pub async fn send(&self, mail: &Mail<'_>, at: Timestamp) -> Result<(), MailError> {
        let message = self.compose(mail, at).inspect_err(|error| self.count(mail, Some(error)))?;
        let sent = self.transport.send(mail, message).await;
        self.count(mail, sent.as_ref().err());
        self.report(sent.as_ref().err());
        sent
    }

    /// Mails that this process has handed over or not, by template and outcome.
    pub fn counts(&self) -> &Arc<Counts<2>> {
        &self.counts
    }

    fn count(&self, mail: &Mail<'_>, error: Option<&MailError>) {
        let outcome = match error {
            None => "sent",
            Some(error) if error.is_permanent() => "rejected",
            Some(error) if error.is_outage() => "unreachable",
            Some(_) => "postponed",
        };
        self.counts.add([mail.kind(), outcome]);
    }

    /// Logs the beginning and the end of an outage of the mail server, once each.
    fn report(&self, error: Option<&MailError>) {
        let outage = error.filter(|error| error.is_outage());
        if self.is_away.swap(outage.is_some(), Ordering::Relaxed) == outage.is_some() {
            return;
        }
        match outage {
            Some(MailError::Authentication { status }) => {
                tracing::error!(alarm = true, status, "mail server rejected credentials");
            }
            Some(error) => tracing::error!(alarm = true, %error, "mail server unreachable"),
            None => tracing::info!("mail server reachable again"),
        }
    }

    fn compose(&self, mail: &Mail<'_>, at: Timestamp) -> Result<Message, MailError> {
        let (email, name) = mail.recipient();
        let address = ascii_domain(email).ok_or(MailError::Address)?;
        // Given rather than read back from the headers, whose parser knows fewer forms of addresses.
        let envelope = Envelope::new(Some(self.from.email.clone()), vec![address.clone()])
            .map_err(|_| MailError::Compose)?;
        let name = isolated(name).into_owned();
        let recipient = Mailbox::new((!name.is_empty()).then_some(name), address);
        let shown = view::render(mail, self.storefront.as_ref()).map_err(|_| MailError::Compose)?;
        Message::builder()
            .envelope(envelope)
            .from(self.from.clone())
            .to(recipient)
            .date(UNIX_EPOCH + Duration::from_millis(u64::try_from(at.as_millisecond()).unwrap_or(0)))
            .message_id(Some(self.message_id(mail)))
            .raw_header(HeaderValue::new(AUTO_SUBMITTED, "auto-generated".to_owned()))
            .subject(shown.subject)
            .multipart(MultiPart::alternative_plain_html(shown.text, shown.html))
            .map_err(|_| MailError::Compose)
    }
}

fn ascii_domain(email: &str) -> Option<Address> {
    with_ascii_domain(email)?.parse().ok()
}

/// A part of the hash of a token: tells tokens apart without revealing them.
fn mark(token: &Token) -> u64 {
    token.hash().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
