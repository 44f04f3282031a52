//! Golden payloads: one or more of each kind and version that a release has published.
//!
//! They stand for the jobs that wait while the next release is deployed, which reads them in `jobs check`. A file never
//! changes: another shape of a payload is another version, with a file of its own. A test holds those of the current
//! versions to their jobs.

/// A payload as it stands in a queue, with what stands beside it.
#[derive(Debug, Clone, Copy)]
pub struct Golden {
    pub kind: &'static str,
    pub version: u16,
    /// JSON.
    pub payload: &'static str,
}

/// Kind, version and file of each.
macro_rules! golden {
    ($($kind:literal $version:literal $file:literal),+ $(,)?) => {
        &[$(Golden {
            kind: $kind,
            version: $version,
            payload: include_str!(concat!("../golden/", $file, ".json")),
        }),+]
    };
}

/// By kind and version.
pub const GOLDEN: &[Golden] = golden!(
    "apply_provider_report" 1 "apply_provider_report",
    "audit_changes" 1 "audit_changes",
    "charge_payment" 1 "charge_payment",
    "delete_expired" 1 "delete_expired",
    "deliver_webhook" 1 "deliver_webhook",
    "drop_dead_jobs" 1 "drop_dead_jobs",
    "expire_orders" 1 "expire_orders",
    "expire_reservations" 1 "expire_reservations",
    "fulfil_order" 1 "fulfil_order",
    "maintain_partitions" 1 "maintain_partitions",
    "refund_payment" 1 "refund_payment",
    "send_email" 1 "send_email",
    "send_email" 1 "send_email_domain",
    "send_email" 1 "send_email_partial_refund",
    "send_verification" 1 "send_verification",
    "send_verification" 1 "send_verification_domain",
    "send_welcome" 1 "send_welcome",
    "send_welcome" 1 "send_welcome_domain",
);
