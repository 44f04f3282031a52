//! Refunds: the row and the amount it reserves change in one lightweight transaction, so under any concurrency the sum
//! of open and done refunds never exceeds the captured amount.

use base::Timestamp;
use store::{
    domain::{PaymentId, RefundId, RefundState},
    payments::{RefundBegun, rejection},
};

use super::{
    attempts::millis,
    fault::{Failure, Result},
    rows::Stored,
    session::{Cas, PaymentSession},
};

impl PaymentSession {
    pub(super) async fn begin_refund(
        &self,
        id: PaymentId,
        refund: RefundId,
        amount_minor: i64,
        at: Timestamp,
    ) -> Result<RefundBegun> {
        let _turn = self.lock(id).await;
        let mut tries = 0;
        loop {
            let Some(stored) = self.read_serial(id).await? else { return Ok(RefundBegun::NotFound) };
            let reserved = checked_reserve(&stored)?;
            match rejection::refund_not_begun(&stored.payment, refund) {
                RefundBegun::TooMuch { refundable_minor }
                    if (1..=refundable_minor).contains(&amount_minor) => {}
                answer => return Ok(answer),
            }
            let values =
                (reserved + amount_minor, amount_minor, millis(at), id.0, refund.to_string(), reserved);
            if self.cas(&self.statements.begin_refund, values).await? == Cas::Applied {
                return Ok(RefundBegun::Open);
            }
            self.pause(&mut tries).await;
        }
    }

    pub(super) async fn end_refund(
        &self,
        id: PaymentId,
        refund: RefundId,
        done: bool,
        reference: &str,
        at: Timestamp,
    ) -> Result<Option<RefundState>> {
        let _turn = self.lock(id).await;
        let mut tries = 0;
        loop {
            let Some(stored) = self.read_serial(id).await? else { return Ok(None) };
            let Some(known) = stored.payment.refunds.iter().find(|known| known.id == refund) else {
                return Ok(None);
            };
            if known.state != RefundState::Open {
                return Ok(Some(known.state));
            }
            let entry = refund.to_string();
            let outcome = if done {
                let values = (reference, millis(at), id.0, entry);
                self.cas(&self.statements.complete_refund, values).await?
            } else {
                let reserved = checked_reserve(&stored)?;
                let left = reserved - known.amount_minor;
                let values = (reference, millis(at), left, id.0, entry, reserved);
                self.cas(&self.statements.fail_refund, values).await?
            };
            if outcome == Cas::Applied {
                return Ok(Some(rejection::refund_state(Some(done))));
            }
            self.pause(&mut tries).await;
        }
    }
}

/// The reserved amount; unless a row was changed by hand, it equals the sum of the refunds it was written with.
fn checked_reserve(stored: &Stored) -> Result<i64> {
    let summed = rejection::reserved_minor(&stored.payment);
    if stored.reserved_minor == summed {
        return Ok(summed);
    }
    let (id, reserved) = (stored.payment.id, stored.reserved_minor);
    Err(Failure::Corrupt(format!("reserved_minor of {id}: is {reserved}, its refunds hold {summed}")))
}
