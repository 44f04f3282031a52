//! Queues and job registry of the shop.

use jobs::registry::{RegisterError, Registry};

use store::StoreError;

use crate::{
    env::Env,
    jobs::{
        ApplyProviderReport, ChargePayment, DeliverWebhook, FulfilOrder, RefundPayment, SendEmail,
        SendVerification, SendWelcome,
    },
};

/// Queue of charges and refunds.
pub const PAYMENTS: &str = "payments";
/// Queue of shipments.
pub const FULFILMENT: &str = "fulfilment";
/// Queue of mails.
pub const EMAIL: &str = "email";
/// Queue of webhooks.
pub const WEBHOOKS: &str = "webhooks";

/// All queues with their default number of concurrent jobs per worker.
///
/// Payments and webhooks mostly wait for other servers; fulfilment waits only for the store's single writer.
pub const QUEUES: [(&str, usize); 4] = [(PAYMENTS, 16), (FULFILMENT, 8), (EMAIL, 8), (WEBHOOKS, 32)];

/// The registry of all jobs.
///
/// Fails, at boot, when two jobs have the same `KIND`.
pub fn registry() -> Result<Registry<Env>, RegisterError> {
    Registry::new()
        .waits_out(is_outage)
        .register::<ApplyProviderReport>()?
        .register::<ChargePayment>()?
        .register::<DeliverWebhook>()?
        .register::<FulfilOrder>()?
        .register::<RefundPayment>()?
        .register::<SendEmail>()?
        .register::<SendVerification>()?
        .register::<SendWelcome>()
}

/// Whether a store of ours is unavailable: an outage is waited out without using an attempt. Failures of providers,
/// mail servers and receivers are no outages; attempts exist for them.
fn is_outage(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(StoreError::Unavailable { .. }))
}
