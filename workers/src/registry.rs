//! The queues of the shop and the one list of its jobs.

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
