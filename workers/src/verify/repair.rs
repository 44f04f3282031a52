//! Safe repairs of violations.

use jobs::engine::EngineError;

use super::{Repair, Verify, VerifyError};

/// Makes a repair; `false` when there was nothing to repair.
pub(super) async fn apply(verify: &Verify, repair: &Repair) -> Result<bool, VerifyError> {
    let at = verify.ambient.now();
    match repair {
        Repair::Publish(job) => {
            // Publishing under the id of a dead letter would only return "already held": it is retried instead.
            if verify.engine.retry_now(job.id).await? {
                return Ok(true);
            }
            let answers = verify.engine.publish(vec![job.as_ref().clone()]).await?;
            answers.first().map(|_| true).ok_or(VerifyError::Engine(EngineError::Closed))
        }
        Repair::Reservation { merchant, sku } => {
            Ok(verify.orders.repair_reservation(*merchant, sku, at).await?)
        }
        Repair::RequestMissingRefund(order) => Ok(verify.orders.request_missing_refund(*order, at).await?),
        Repair::Manual(_) => Ok(false),
    }
}
