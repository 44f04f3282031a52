//! Queues of the shop's jobs.

/// Queue of charges and refunds.
pub const PAYMENTS: &str = "payments";
pub const FULFILMENT: &str = "fulfilment";
pub const EMAIL: &str = "email";
pub const WEBHOOKS: &str = "webhooks";

/// Queue of the housekeeping jobs, which the scheduler itself runs.
pub const HOUSEKEEPING: &str = "housekeeping";
/// Housekeeping jobs at a time in a scheduler: one of each kind, so that a long audit delays no other.
pub const HOUSEKEEPING_SLOTS: usize = 6;

/// All queues of workers with their default number of concurrent jobs per worker process.
///
/// Payments and webhooks mostly wait for other servers; fulfilment waits only for the store's single writer.
pub const QUEUES: [(&str, usize); 4] = [(PAYMENTS, 16), (FULFILMENT, 8), (EMAIL, 4), (WEBHOOKS, 16)];
