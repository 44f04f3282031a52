//! Safe repairs of violations.

use base::Timestamp;
use jobs::{Engine, engine::EngineError};
use store::OrderStore;

use super::{error::VerifyError, finding::Repair};

/// Makes a repair; `false` when there was nothing to repair.
pub(super) async fn apply(
    repair: &Repair,
    orders: &dyn OrderStore,
    engine: &dyn Engine,
    at: Timestamp,
) -> Result<bool, VerifyError> {
    match repair {
        Repair::Publish(job) => {
            // Publishing under the id of a dead letter would only return "already held": it is retried instead.
            if engine.retry_now(job.id).await? {
                return Ok(true);
            }
            let answers = engine.publish(vec![job.as_ref().clone()]).await?;
            answers.first().map(|_| true).ok_or(VerifyError::Engine(EngineError::Closed))
        }
        Repair::Reservation { merchant, sku } => Ok(orders.repair_reservation(*merchant, sku, at).await?),
        Repair::RequestMissingRefund(order) => Ok(orders.request_missing_refund(*order, at).await?),
        Repair::Manual(_) => Ok(false),
    }
}
