//! Rejections of payment writes: pure rules over the stored row, shared by the engines so that all answer alike.

use base::Timestamp;

use super::{Begun, ChargeRecorded, Decided, RefundBegun};
use crate::domain::{Decision, Payment, RefundId, RefundState};

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// Why no attempt was begun; `None` when one could have begun.
pub fn not_begun(payment: Option<&Payment>) -> Option<Begun> {
    match payment {
        None => Some(Begun::NotFound),
        Some(payment) => payment.decision.clone().map(Begun::Decided),
    }
}

/// The answer to an attempt that recorded no charge; `None` when it could have recorded one.
pub fn charge_not_recorded(payment: Option<&Payment>, epoch: u64) -> Option<ChargeRecorded> {
    let Some(payment) = payment else { return Some(ChargeRecorded::NotFound) };
    if let Some(decision) = &payment.decision {
        return Some(ChargeRecorded::Decided(decision.clone()));
    }
    // Epoch 0 stands for "no attempt yet".
    if epoch == 0 || epoch != payment.epoch {
        return Some(ChargeRecorded::Stale { current_epoch: payment.epoch });
    }
    payment.charge.clone().map(ChargeRecorded::Charge)
}

/// Why nothing was decided. Of an undecided payment it says that a newer attempt began: callers make sure that one did.
pub fn not_decided(payment: Option<&Payment>) -> Decided {
    match payment {
        None => Decided::NotFound,
        Some(Payment { decision: Some(decision), .. }) => Decided::Already(decision.clone()),
        Some(payment) => Decided::Stale { current_epoch: payment.epoch },
    }
}

/// Why a refund was not begun. A zero or negative amount is rejected; it would raise the refundable remainder.
pub fn refund_not_begun(payment: &Payment, refund: RefundId) -> RefundBegun {
    if let Some(known) = payment.refunds.iter().find(|known| known.id == refund) {
        return match known.state {
            RefundState::Open => RefundBegun::Open,
            ended => RefundBegun::Ended(ended),
        };
    }
    if !matches!(payment.decision, Some(Decision::Captured { .. })) {
        return RefundBegun::NotCaptured;
    }
    RefundBegun::TooMuch { refundable_minor: payment.amount_minor.saturating_sub(reserved_minor(payment)) }
}

/// Sum of the open and done refunds.
pub fn reserved_minor(payment: &Payment) -> i64 {
    let live = payment.refunds.iter().filter(|known| known.state != RefundState::Failed);
    // Damaged amounts must not wrap around and raise the remainder.
    live.map(|known| known.amount_minor).fold(0, i64::saturating_add)
}

/// A refund's state by its recorded result.
pub const fn refund_state(done: Option<bool>) -> RefundState {
    match done {
        None => RefundState::Open,
        Some(true) => RefundState::Done,
        Some(false) => RefundState::Failed,
    }
}

/// A decision by its columns; fails when both are set.
pub fn decision(
    provider_reference: Option<String>,
    decline_code: Option<String>,
) -> Result<Option<Decision>, &'static str> {
    match (provider_reference, decline_code) {
        (None, None) => Ok(None),
        (Some(provider_reference), None) => Ok(Some(Decision::Captured { provider_reference })),
        (None, Some(code)) => Ok(Some(Decision::Declined { code })),
        (Some(_), Some(_)) => Err("both captured and declined"),
    }
}

/// Column value of an epoch. The store assigns epochs from 1; one beyond the column's range is never the newest.
pub fn stored_epoch(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}

/// The first millisecond of the UTC day and of the next day. Days of Unix time have no leap seconds.
pub fn day_millis(day: Timestamp) -> (i64, i64) {
    let into_day = day.as_millisecond().rem_euclid(DAY_MILLIS);
    let start = day.as_millisecond() - into_day;
    (start, start + DAY_MILLIS)
}
