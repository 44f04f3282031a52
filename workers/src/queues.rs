//! Queues of the shop's jobs.

/// Queue of charges and refunds.
pub const PAYMENTS: &str = "payments";
pub const FULFILMENT: &str = "fulfilment";
pub const EMAIL: &str = "email";
pub const WEBHOOKS: &str = "webhooks";

/// All queues with their default number of concurrent jobs per worker process.
///
/// Payments and webhooks mostly wait for other servers; fulfilment waits only for the store's single writer.
pub const QUEUES: [(&str, usize); 4] = [(PAYMENTS, 16), (FULFILMENT, 8), (EMAIL, 4), (WEBHOOKS, 16)];
