//! The collaborators of all jobs, built once per process by the binary and handed to every run.

use std::{ops::Deref, sync::Arc};

use base::Ambient;
use store::{OrderStore, PaymentStore};

use crate::{mail::Mailer, provider::PaymentProvider, webhook::WebhookSender};

/// Shared by all runs of a process; a clone is one reference count.
#[derive(Clone)]
pub struct Env(Arc<Parts>);

/// What an [`Env`] is made of.
pub struct Parts {
    /// Orders, outbox, mails, webhook endpoints.
    pub orders: Arc<dyn OrderStore>,
    /// Payments.
    pub payments: Arc<dyn PaymentStore>,
    /// Who moves the money.
    pub provider: Arc<dyn PaymentProvider>,
    /// Who sends mails.
    pub mailer: Mailer,
    /// Who notifies merchants.
    pub webhooks: WebhookSender,
    /// Clock, ids, randomness.
    pub ambient: Ambient,
    /// Names this process in payment attempts: host and process id.
    pub worker: String,
}

impl Env {
    /// Shares the parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for Env {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
