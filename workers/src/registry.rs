//! Job registries: of the shop, and of the housekeeping.

use base::ErrorClass;
use jobs::registry::{RegisterError, Registry};
use store::StoreError;

use crate::{
    env::Env,
    housekeeping::HousekeepingEnv,
    jobs::{
        ApplyProviderReport, AuditChanges, ChargePayment, DeleteExpired, DeliverWebhook, DropDeadJobs,
        ExpireOrders, ExpireReservations, FulfilOrder, MaintainPartitions, RefundPayment, SendEmail,
        SendVerification, SendWelcome,
    },
};

/// Fails, at boot, when two jobs have the same `KIND`.
pub fn registry() -> Result<Registry<Env>, RegisterError> {
    Registry::new()
        .classify_errors(classify)
        .register::<ApplyProviderReport>()?
        .register::<ChargePayment>()?
        .register::<DeliverWebhook>()?
        .register::<FulfilOrder>()?
        .register::<RefundPayment>()?
        .register::<SendEmail>()?
        .register::<SendVerification>()?
        .register::<SendWelcome>()
}

/// The jobs of the scheduler, with an environment of their own. Their errors need no class: a run that fails ends.
///
/// # Errors
/// As [`registry`].
pub fn housekeeping_registry() -> Result<Registry<HousekeepingEnv>, RegisterError> {
    Registry::new()
        .register::<AuditChanges>()?
        .register::<DeleteExpired>()?
        .register::<DropDeadJobs>()?
        .register::<ExpireOrders>()?
        .register::<ExpireReservations>()?
        .register::<MaintainPartitions>()
}

/// The class of an error of the shop's own stores: an outage uses no attempt, a defect does. Failures of providers,
/// mail servers and receivers are of no class; attempts exist for them.
fn classify(error: &(dyn std::error::Error + 'static)) -> Option<ErrorClass> {
    error.downcast_ref().map(StoreError::class)
}
