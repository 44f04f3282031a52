//! Records of mails: what the order store keeps of each mail that was sent.

use std::fmt;

use async_trait::async_trait;
use base::Timestamp;

use crate::{
    domain::{CustomerId, OrderId},
    error::Result,
};

/// The subject of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MailSubject {
    Order(OrderId),
    Customer(CustomerId),
}

impl From<OrderId> for MailSubject {
    fn from(id: OrderId) -> Self {
        Self::Order(id)
    }
}

impl From<CustomerId> for MailSubject {
    fn from(id: CustomerId) -> Self {
        Self::Customer(id)
    }
}

impl fmt::Display for MailSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(id) => id.fmt(f),
            Self::Customer(id) => id.fmt(f),
        }
    }
}

/// A sent mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailRecord {
    pub template: String,
    pub message_id: String,
    /// Time of handing over to the mail server.
    pub sent_at: Timestamp,
}

/// Records of sent mails: one per (subject, template).
#[async_trait]
pub trait Mails: Send + Sync + 'static {
    /// The mails about a subject, oldest first.
    async fn mails(&self, subject: MailSubject) -> Result<Vec<MailRecord>>;

    /// Records a mail as sent; false when it was recorded before, or its customer was deleted meanwhile (and nothing
    /// changes).
    async fn record_mail(&self, subject: MailSubject, mail: MailRecord) -> Result<bool>;
}
