//! What an audit finds: codes, ids, and what would mend it.

use std::{fmt, str::FromStr};

use base::Timestamp;
use jobs::{Envelope, JobId};
use serde::Serialize;
use store::domain::{MerchantId, OrderId};

/// Something that must not be. Names and invariants are stable: alerts are set on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// An order waits for its payment and no job will bring it.
    PendingStuck,
    /// A paid order waits and no job will ship it.
    PaidStuck,
    /// An order does not read back.
    Unreadable,
    /// An order counts as paid; its payment is not captured.
    CaptureMissing,
    /// A payment is captured; its order knows nothing of it.
    CaptureUnexpected,
    /// Order, payment and ledger name different amounts or currencies.
    AmountDiffers,
    /// A payment whose order is not there.
    PaymentOrphan,
    /// Our capture is not in the provider's ledger.
    LedgerCaptureMissing,
    /// A charge in the provider's ledger that no payment stands for: a second one, or one never recorded.
    LedgerCaptureUnexpected,
    /// An entry of the provider's ledger whose order is not there.
    LedgerOrphan,
    /// A refund that was asked for is not done and no job will do it; or it is done and not recorded.
    RefundStuck,
    /// What an order says was given back is not the sum of its refunds, or more than was captured.
    RefundSumDiffers,
    /// A refund of ours that the provider's ledger does not have.
    LedgerRefundMissing,
    /// A refund in the provider's ledger that is none of ours.
    LedgerRefundUnexpected,
    /// A cancelled order's money was never asked back.
    MoneyKept,
    /// A product's reservation is not what open orders hold.
    ReservationDiffers,
    /// A product has less than nothing, or more promised than there is.
    StockNegative,
    /// A mail that is due is not recorded and no job will send it.
    MailMissing,
    /// A mail is recorded that nothing led to.
    MailUnexpected,
    /// An order's events are not numbered from one without gaps.
    EventGap,
    /// An event did not reach an endpoint, was never tried, and no job will.
    WebhookMissing,
    /// Delivery of an event failed, its next attempt is overdue, and no job will make it.
    WebhookStalled,
    /// The oldest unsent message is older than the grace: no relay works.
    OutboxStalled,
}

/// Invariants as the design numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Invariant {
    /// An accepted order ends.
    I1,
    /// One capture per paid order, here and at the provider.
    I2,
    /// Reservations are what open orders hold.
    I3,
    /// One mail per order and template.
    I4,
    /// Every event reached every endpoint or will.
    I5,
}

impl Invariant {
    /// All that can be checked from the stores.
    pub const ALL: [Self; 5] = [Self::I1, Self::I2, Self::I3, Self::I4, Self::I5];

    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::I1 => "I1",
            Self::I2 => "I2",
            Self::I3 => "I3",
            Self::I4 => "I4",
            Self::I5 => "I5",
        }
    }
}

impl Code {
    /// What is violated.
    pub const fn invariant(self) -> Invariant {
        match self {
            Self::PendingStuck | Self::PaidStuck | Self::Unreadable => Invariant::I1,
            Self::CaptureMissing
            | Self::CaptureUnexpected
            | Self::AmountDiffers
            | Self::PaymentOrphan
            | Self::LedgerCaptureMissing
            | Self::LedgerCaptureUnexpected
            | Self::LedgerOrphan
            | Self::RefundStuck
            | Self::RefundSumDiffers
            | Self::LedgerRefundMissing
            | Self::LedgerRefundUnexpected
            | Self::MoneyKept => Invariant::I2,
            Self::ReservationDiffers | Self::StockNegative => Invariant::I3,
            Self::MailMissing | Self::MailUnexpected => Invariant::I4,
            Self::EventGap | Self::WebhookMissing | Self::WebhookStalled | Self::OutboxStalled => {
                Invariant::I5
            }
        }
    }

    /// Whether a job that was ended on purpose settles it: a mail that is refused for good, a delivery called off.
    pub(super) const fn may_be_given_up(self) -> bool {
        matches!(self, Self::MailMissing | Self::WebhookMissing | Self::WebhookStalled)
    }

    /// The name in reports.
    pub fn name(self) -> String {
        // Serialising a unit variant gives its name and cannot fail; the fallback keeps this free of a panic.
        serde_json::to_value(self)
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// What would mend a violation.
#[derive(Debug, Clone)]
pub enum Repair {
    /// Publish the job that is missing, under the id it always had. Safe: each job takes effect once, by its key.
    Publish(Box<Envelope>),
    /// Make the reservation what open orders hold, inside one write. Safe: it is derived from what stands beside it.
    Reservation {
        /// Whose product.
        merchant: MerchantId,
        /// Which.
        sku: String,
    },
    /// Ask the money of a cancelled order back, as cancelling would have. Safe: guarded inside the write, once by its id.
    RequestMissingRefund(OrderId),
    /// For people: what moves money on the word of one side, or rewrites history, is not done by a program.
    Manual(&'static str),
}

impl Repair {
    /// In words.
    pub fn describe(&self) -> String {
        match self {
            Self::Publish(job) => format!("publish {} as {}", job.kind, job.id),
            Self::Reservation { sku, .. } => format!("make the reservation of {sku} what open orders hold"),
            Self::RequestMissingRefund(_) => "ask the money back".to_owned(),
            Self::Manual(what) => (*what).to_owned(),
        }
    }

    /// Whether `--repair` does it.
    pub const fn is_safe(&self) -> bool {
        !matches!(self, Self::Manual(_))
    }
}

/// Something that must not be, with what it is about.
#[derive(Debug, Clone)]
pub struct Violation {
    /// What.
    pub code: Code,
    /// What it is about: ids by their kind, such as `order`, `payment`, `event`, `endpoint`, `sku`.
    pub ids: Vec<(&'static str, String)>,
    /// What was found, in a line without personal data.
    pub found: String,
    /// What would mend it.
    pub repair: Repair,
    /// Whether that was done by this run.
    pub repaired: bool,
}

impl Violation {
    /// The order it is about.
    pub fn order(&self) -> Option<OrderId> {
        self.id("order")
    }

    /// The id of this kind.
    pub(super) fn id<T: FromStr>(&self, kind: &str) -> Option<T> {
        self.ids.iter().find(|(of, _)| *of == kind).and_then(|(_, id)| id.parse().ok())
    }
}

/// A violation, unless a job will still do what is missing.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) violation: Violation,
    pub(super) unless: Option<Awaited>,
}

/// A job that would make a finding none.
#[derive(Debug, Clone)]
pub(super) struct Awaited {
    pub(super) queue: &'static str,
    /// Any of these: a job published again has an id of its own.
    pub(super) jobs: Vec<JobId>,
    /// Since when it should have run.
    pub(super) since: Timestamp,
}

impl Finding {
    pub(super) fn of(order: OrderId, code: Code, found: impl Into<String>, repair: Repair) -> Self {
        let ids = vec![("order", order.to_string())];
        let violation = Violation { code, ids, found: found.into(), repair, repaired: false };
        Self { violation, unless: None }
    }

    /// Names one thing more.
    pub(super) fn with(mut self, kind: &'static str, id: impl fmt::Display) -> Self {
        self.violation.ids.push((kind, id.to_string()));
        self
    }

    /// Holds only while no such job is left.
    pub(super) fn unless(mut self, queue: &'static str, jobs: Vec<JobId>, since: Timestamp) -> Self {
        self.unless = Some(Awaited { queue, jobs, since });
        self
    }

    /// Whether another look found the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.violation.code == other.violation.code && self.violation.ids == other.violation.ids
    }
}
