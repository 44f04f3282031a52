//! Check before a process works on payments: undecided ones that were opened at another provider than the configured
//! one. Their jobs could not go on, and only setting that provider again decides them.

use base::Timestamp;
use futures::future::join_all;
use store::{OrderStore, PaymentStore, StoreError, domain::PaymentId, orders::Stale};

/// Pending orders, the oldest ones, whose payments are read.
const ORDERS_MAX: u32 = 2_000;
/// Payments read at a time.
const READS: usize = 16;

/// Undecided payments at another provider, among those of the oldest pending orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenElsewhere {
    pub payments: usize,
    /// The provider of one of them.
    pub provider: String,
}

/// Open payments of another provider than `provider`, of orders placed before `at`.
pub async fn open_elsewhere(
    orders: &dyn OrderStore,
    payments: &dyn PaymentStore,
    provider: &str,
    at: Timestamp,
) -> Result<Option<OpenElsewhere>, StoreError> {
    let pending = orders.stale_orders(Stale::all(at), None, ORDERS_MAX).await?;
    let mut found: Option<OpenElsewhere> = None;
    for ids in pending.chunks(READS) {
        let reads = ids.iter().map(|id| payments.committed_payment(PaymentId::of_order(*id)));
        for payment in join_all(reads).await {
            match payment {
                Ok(Some(payment))
                    if payment.amount_minor > 0
                        && payment.decision.is_none()
                        && payment.provider != provider =>
                {
                    let other =
                        found.get_or_insert(OpenElsewhere { payments: 0, provider: payment.provider });
                    other.payments += 1;
                }
                // A payment that does not read back harms its own order only.
                Ok(_) | Err(StoreError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}
