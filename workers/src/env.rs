//! Collaborators of all jobs: built once per process by the binary, handed to every run.

use std::sync::Arc;

use base::Ambient;
use jobs::JobContext;
use store::{OrderStore, PaymentStore};

use crate::{
    counts::PaymentCounts, mail::Mailer, provider::PaymentProvider, webhook_delivery::WebhookDelivery,
};

/// Collaborators shared by all runs of a process; a clone costs one reference count.
pub type Env = Arc<Parts>;

/// Context of a run of one of these jobs.
pub type Context = JobContext<Env>;

pub struct Parts {
    /// Orders, outbox, mails, webhook endpoints.
    pub orders: Arc<dyn OrderStore>,
    pub payments: Arc<dyn PaymentStore>,
    pub provider: Arc<dyn PaymentProvider>,
    pub mailer: Mailer,
    pub webhooks: WebhookDelivery,
    pub payment_counts: PaymentCounts,
    pub ambient: Ambient,
    /// Name of this process in payment attempts: host and process id.
    pub worker: String,
}
