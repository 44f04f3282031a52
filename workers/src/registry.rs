//! The queues of the shop and the one list of its jobs.

use jobs::registry::{RegisterError, Registry};

use store::StoreError;

use crate::{
    env::Env,
    jobs::{
        ApplyProviderReport, ChargePayment, DeliverWebhook, FulfilOrder, RefundPayment, SendEmail,
        SendVerification, SendWelcome,
    },
};

/// Charges and refunds.
pub const PAYMENTS: &str = "payments";
/// Shipments.
pub const FULFILMENT: &str = "fulfilment";
/// Mails.
pub const EMAIL: &str = "email";
/// Notifications of merchants.
pub const WEBHOOKS: &str = "webhooks";

/// All queues with the number of jobs one worker runs at a time unless configured otherwise.
///
/// Payments and webhooks mostly wait for others; fulfilment waits only for the store's one writer.
pub const QUEUES: [(&str, usize); 4] = [(PAYMENTS, 16), (FULFILMENT, 8), (EMAIL, 8), (WEBHOOKS, 32)];

/// All jobs of the shop.
///
/// Fails at boot when two claim one kind.
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

/// Whether one of our stores is away. Providers, mail servers and merchants' receivers are not ours: their failures are
/// what jobs have attempts for.
fn is_outage(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(StoreError::Unavailable { .. }))
}
