//! Payments: immutable facts, numbered attempts, one decision.

use std::fmt;

use base::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Currency, MerchantId, OrderId, PaymentId, RefundId};

/// A payment with everything recorded about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Its id.
    pub id: PaymentId,
    /// The order it pays.
    pub order: OrderId,
    /// Whose it is.
    pub merchant: MerchantId,
    /// To capture.
    pub amount_minor: i64,
    /// Of all amounts.
    pub currency: Currency,
    /// The provider's token.
    pub method: String,
    /// Which provider.
    pub provider: String,
    /// Opened.
    pub created_at: Timestamp,
    /// The fencing epoch: number of the newest attempt, 0 before the first.
    pub epoch: u64,
    /// The outcome, once there is one.
    pub decision: Option<Decision>,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
    /// Refunds begun, oldest first.
    pub refunds: Vec<Refund>,
}

/// How a payment ended. Recorded once, by the attempt holding the newest epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Decision {
    /// The money is ours.
    Captured {
        /// The provider's id of the charge.
        provider_reference: String,
    },
    /// It never will be.
    Declined {
        /// Stable code, such as `card_declined`.
        code: String,
    },
}

/// Where a payment stands; follows from its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// Opened.
    Created,
    /// An attempt has begun.
    Processing,
    /// Captured.
    Captured,
    /// Declined.
    Declined,
    /// Captured, then all of it given back.
    Refunded,
}

impl Payment {
    /// Where it stands.
    pub fn state(&self) -> PaymentState {
        match &self.decision {
            Some(Decision::Captured { .. }) if self.refunded_minor() >= self.amount_minor => {
                PaymentState::Refunded
            }
            Some(Decision::Captured { .. }) => PaymentState::Captured,
            Some(Decision::Declined { .. }) => PaymentState::Declined,
            None if self.epoch > 0 => PaymentState::Processing,
            None => PaymentState::Created,
        }
    }

    /// Sum of the refunds that are done; the largest number there is, where damaged amounts exceed it.
    pub fn refunded_minor(&self) -> i64 {
        let done = self.refunds.iter().filter(|r| r.state == RefundState::Done);
        done.map(|r| r.amount_minor).fold(0, i64::saturating_add)
    }
}

impl PaymentState {
    /// The name in the HTTP contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Processing => "processing",
            Self::Captured => "captured",
            Self::Declined => "declined",
            Self::Refunded => "refunded",
        }
    }
}

impl fmt::Display for PaymentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One attempt at capturing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentAttempt {
    /// Its number, the fencing epoch.
    pub epoch: u64,
    /// Who made it.
    pub worker: String,
    /// Begun.
    pub begun_at: Timestamp,
    /// How it ended, in one line, if its worker lived to say so.
    pub note: Option<String>,
}

/// Money on its way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// Its id.
    pub id: RefundId,
    /// How much.
    pub amount_minor: i64,
    /// Begun.
    pub begun_at: Timestamp,
    /// Where it stands.
    pub state: RefundState,
}

/// Where a refund stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundState {
    /// Begun; the provider may or may not have done it.
    Open,
    /// The provider has done it.
    Done,
    /// The provider refused it for good; its amount is free again.
    Failed,
}
