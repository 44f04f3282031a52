//! Payments: immutable facts, numbered attempts, one decision.

use base::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Currency, MerchantId, OrderId, PaymentId, RefundId};
use crate::names::names;

/// A payment with its decision and refunds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Text form `pay_…`; derived from the order's id.
    pub id: PaymentId,
    pub order: OrderId,
    pub merchant: MerchantId,
    /// Amount to capture, in minor units.
    pub amount_minor: i64,
    /// Currency of all amounts.
    pub currency: Currency,
    /// The provider's token of the payment method.
    pub method: String,
    pub provider: String,
    pub created_at: Timestamp,
    /// The fencing epoch: number of the newest attempt, 0 before the first.
    pub epoch: u64,
    /// The provider's id of the charge, recorded before the charge can move money. `None` also where the provider finds
    /// a charge by its key.
    pub charge: Option<String>,
    pub decision: Option<Decision>,
    pub decided_at: Option<Timestamp>,
    /// Refunds begun, oldest first.
    pub refunds: Vec<Refund>,
}

/// The outcome of a payment. Recorded once, by the attempt with the newest epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Decision {
    /// The provider captured the amount.
    Captured {
        /// The provider's id of the charge.
        provider_reference: String,
    },
    /// The provider finally declined the charge.
    Declined {
        /// Stable code, such as `card_declined`.
        code: String,
    },
}

/// State of a payment, derived from its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// Opened, no attempt yet.
    Created,
    /// An attempt has begun.
    Processing,
    /// Captured, not wholly refunded.
    Captured,
    /// Finally declined.
    Declined,
    /// Captured, then wholly refunded.
    Refunded,
}

impl Payment {
    /// The state that follows from decision, refunds and epoch.
    pub fn state(&self) -> PaymentState {
        match &self.decision {
            Some(Decision::Captured { .. })
                if self.amount_minor > 0 && self.refunded_minor() >= self.amount_minor =>
            {
                PaymentState::Refunded
            }
            Some(Decision::Captured { .. }) => PaymentState::Captured,
            Some(Decision::Declined { .. }) => PaymentState::Declined,
            None if self.epoch > 0 => PaymentState::Processing,
            None => PaymentState::Created,
        }
    }

    /// Sum of the refunds that are done; `i64::MAX` when damaged amounts exceed it.
    pub fn refunded_minor(&self) -> i64 {
        let done = self.refunds.iter().filter(|r| r.state == RefundState::Done);
        done.map(|r| r.amount_minor).fold(0, i64::saturating_add)
    }
}

names!(PaymentState, "payment state", {
    Created => "created",
    Processing => "processing",
    Captured => "captured",
    Declined => "declined",
    Refunded => "refunded",
});

/// One attempt at capturing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentAttempt {
    /// Its number, which is its fencing epoch.
    pub epoch: u64,
    /// Name of the worker process that made it.
    pub worker: String,
    pub begun_at: Timestamp,
    /// How it ended, in one line; `None` when its worker did not get to record it.
    pub note: Option<String>,
}

/// A refund of a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// The same id in the order store.
    pub id: RefundId,
    /// In minor units of the payment's currency.
    pub amount_minor: i64,
    pub begun_at: Timestamp,
    pub state: RefundState,
}

/// State of a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundState {
    /// Begun; the provider may or may not have done it.
    Open,
    /// The provider has done it.
    Done,
    /// The provider finally refused it; its amount is refundable again.
    Failed,
}
