//! Safe repairs of violations.

use jobs::engine::EngineError;

use super::{Audit, error::VerifyError, finding::Repair};

impl Audit<'_> {
    /// Makes a repair; `false` when there was nothing to repair.
    pub(super) async fn repair(&self, repair: &Repair) -> Result<bool, VerifyError> {
        let (orders, engine, at) = (&self.of.orders, &self.of.engine, self.of.ambient.now());
        match repair {
            Repair::Publish(job) => {
                // Publishing under the id of a dead letter would only return "already held": it is retried instead.
                if engine.retry_now(job.id).await? {
                    return Ok(true);
                }
                let answers = engine.publish(vec![job.as_ref().clone()]).await?;
                answers.first().map(|_| true).ok_or(VerifyError::Engine(EngineError::Closed))
            }
            Repair::Reservation { merchant, sku } => {
                Ok(orders.repair_reservation(*merchant, sku, at).await?)
            }
            Repair::RequestMissingRefund(order) => Ok(orders.request_missing_refund(*order, at).await?),
            Repair::Manual(_) => Ok(false),
        }
    }
}
