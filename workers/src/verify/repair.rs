//! The safe repairs.

use jobs::engine::EngineError;

use super::{Repair, Verify, VerifyError};

/// Does it; false when there turned out to be nothing to do.
pub(super) async fn apply(verify: &Verify, repair: &Repair) -> Result<bool, VerifyError> {
    let at = verify.ambient.now();
    match repair {
        Repair::Publish(job) => {
            // A dead one of this id would only be answered with "I have it".
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
