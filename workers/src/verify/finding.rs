//! Findings of an audit: codes, ids and repairs.

use std::{fmt, str::FromStr};

use base::Timestamp;
use jobs::{Envelope, JobId};
use serde::Serialize;
use store::{
    audit::Settlement,
    domain::{MerchantId, OrderId},
};

/// Code of a violation. Names and invariants are stable: alerts are set on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// An order is pending and no job will charge it.
    PendingStuck,
    /// An order is paid and no job will ship it.
    PaidStuck,
    /// An order cannot be read back.
    Unreadable,
    /// An order counts as paid; its payment is not captured.
    CaptureMissing,
    /// A payment is captured; its order has no record of it.
    CaptureUnexpected,
    /// Order, payment and ledger name different amounts or currencies.
    AmountDiffers,
    /// A payment without its order.
    PaymentOrphan,
    /// Our capture is not in the provider's ledger.
    LedgerCaptureMissing,
    /// A charge in the provider's ledger without a payment: a second charge, or one never recorded.
    LedgerCaptureUnexpected,
    /// An entry of the provider's ledger without its order.
    LedgerOrphan,
    /// A requested refund is not done and no job will do it; or it is done and not recorded.
    RefundStuck,
    /// An order's refunded amount is not the sum of its refunds, or exceeds the capture.
    RefundSumDiffers,
    /// A refund of ours is missing in the provider's ledger.
    LedgerRefundMissing,
    /// A refund in the provider's ledger is none of ours.
    LedgerRefundUnexpected,
    /// No refund was requested for the captured money of a cancelled order.
    MoneyKept,
    /// A product's reservation is not the sum held by open orders.
    ReservationDiffers,
    /// A product's stock is negative, or more is reserved than is on hand.
    StockNegative,
    /// A mail that is due is not recorded and no job will send it.
    MailMissing,
    /// A mail is recorded that no event asks for.
    MailUnexpected,
    /// An order's events are not numbered from one without gaps.
    EventGap,
    /// An event was never sent to an endpoint, and no job will send it.
    WebhookMissing,
    /// Delivery of an event failed, its next attempt is overdue, and no job will make it.
    WebhookStalled,
    /// The oldest unsent message is older than the grace: no relay works.
    OutboxStalled,
    /// A message of the outbox that a relay could not read; those after it about the same subject wait.
    MessageSetAside,
}

/// Invariants, numbered as in docs/ARCHITECTURE.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Invariant {
    /// An accepted order ends in a terminal state.
    I1,
    /// One capture per paid order, in the store and at the provider.
    I2,
    /// Reservations equal the sums held by open orders.
    I3,
    /// One mail per order and template.
    I4,
    /// Every event reached every endpoint, or has an open attempt.
    I5,
}

impl Invariant {
    /// All that can be checked from the stores.
    pub const ALL: [Self; 5] = [Self::I1, Self::I2, Self::I3, Self::I4, Self::I5];

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
            Self::EventGap
            | Self::WebhookMissing
            | Self::WebhookStalled
            | Self::OutboxStalled
            | Self::MessageSetAside => Invariant::I5,
        }
    }

    /// Whether a job that was ended on purpose resolves it: a mail rejected permanently, a delivery given up.
    pub(super) const fn may_be_given_up(self) -> bool {
        matches!(self, Self::MailMissing | Self::WebhookMissing | Self::WebhookStalled)
    }
}

/// The name in reports: that of its serialised form.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

#[derive(Debug, Clone)]
pub enum Repair {
    /// Publish the missing job, under the id it always had. Safe: each job takes effect once, by its key.
    Publish(Box<Envelope>),
    /// Set the reservation to the sum held by open orders, in one write. Safe: it is derived from what that write
    /// reads.
    Reservation { merchant: MerchantId, sku: String },
    /// Request the refund of a cancelled order, as the cancellation would have. Safe: guarded in the write, once by its
    /// id.
    RequestMissingRefund(OrderId),
    /// Manual action: a program does not move money on the word of one side, and does not rewrite history.
    Manual(&'static str),
}

impl Repair {
    /// Of data that does not read back.
    pub(super) const RESTORE: Self =
        Self::Manual("run the release that wrote it, or restore what is damaged from a backup");

    pub fn describe(&self) -> String {
        match self {
            Self::Publish(job) => format!("publish {} as {}", job.kind, job.id),
            Self::Reservation { sku, .. } => format!("set the reservation of {sku} to that of open orders"),
            Self::RequestMissingRefund(_) => "ask the money back".to_owned(),
            Self::Manual(what) => (*what).to_owned(),
        }
    }

    /// Whether `--repair` makes it.
    pub const fn is_safe(&self) -> bool {
        !matches!(self, Self::Manual(_))
    }
}

#[derive(Debug, Clone)]
pub struct Violation {
    pub code: Code,
    /// Ids of its subjects by kind, such as `order`, `payment`, `event`, `endpoint`, `sku`.
    pub ids: Vec<(&'static str, String)>,
    /// The observation, in a line without personal data.
    pub found: String,
    pub repair: Repair,
    /// Whether this run made the repair.
    pub repaired: bool,
}

/// Appended to the text of a finding once the queues were asked.
pub(super) const JOB_IS_DEAD: &str = "; its job is dead";

/// What a settlement names: the code, the ids and what was found. A change of any of them is another violation.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        for (kind, id) in &self.ids {
            write!(f, ", {kind} {id}")?;
        }
        write!(f, ": {}", self.found)
    }
}

impl Violation {
    pub(super) fn is_settled_by(&self, settlements: &[Settlement]) -> bool {
        let text = self.to_string();
        let mut settled = settlements.iter().flat_map(|settlement| &settlement.violations);
        settled.any(|settled| settled.strip_suffix(JOB_IS_DEAD).unwrap_or(settled) == text)
    }

    pub(super) fn new(code: Code, ids: Vec<(&'static str, String)>, found: String, repair: Repair) -> Self {
        Self { code, ids, found, repair, repaired: false }
    }

    pub fn order(&self) -> Option<OrderId> {
        self.id("order")
    }

    pub(super) fn id<T: FromStr>(&self, kind: &str) -> Option<T> {
        self.ids.iter().find(|(of, _)| *of == kind).and_then(|(_, id)| id.parse().ok())
    }
}

/// A suspected violation, unless an outstanding job will resolve it.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) violation: Violation,
    pub(super) unless: Option<Awaited>,
}

/// The outstanding job that would resolve a finding.
#[derive(Debug, Clone)]
pub(super) struct Awaited {
    pub(super) queue: String,
    /// Any of these ids: a job published again has another one.
    pub(super) jobs: Vec<JobId>,
    /// Since when it should have run.
    pub(super) since: Timestamp,
}

impl Finding {
    pub(super) fn of(order: OrderId, code: Code, found: impl Into<String>, repair: Repair) -> Self {
        let ids = vec![("order", order.to_string())];
        Self { violation: Violation::new(code, ids, found.into(), repair), unless: None }
    }

    /// A finding for manual action.
    pub(super) fn manual(order: OrderId, code: Code, found: impl Into<String>, what: &'static str) -> Self {
        Self::of(order, code, found, Repair::Manual(what))
    }

    /// A finding that counts only if this job is not outstanding, and whose repair publishes the job.
    pub(super) fn missing(
        order: OrderId,
        code: Code,
        found: String,
        job: Envelope,
        since: Timestamp,
    ) -> Self {
        let awaited = Awaited { queue: job.queue.clone(), jobs: vec![job.id], since };
        Self { unless: Some(awaited), ..Self::of(order, code, found, Repair::Publish(Box::new(job))) }
    }

    /// Adds another job that would resolve the finding.
    pub(super) fn or(mut self, job: JobId) -> Self {
        if let Some(awaited) = &mut self.unless {
            awaited.jobs.push(job);
        }
        self
    }

    pub(super) fn with(mut self, kind: &'static str, id: impl fmt::Display) -> Self {
        self.violation.ids.push((kind, id.to_string()));
        self
    }

    /// Whether another check found the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.violation.code == other.violation.code && self.violation.ids == other.violation.ids
    }
}
