//! Mapping of a payment's partition to the domain's types. A value that does not read back is a [`Failure::Corrupt`],
//! with its payment and column.

use std::str::FromStr;

use base::{Timestamp, ids::Uuid};
use scylla::{DeserializeRow, statement::prepared::PreparedStatement, value::CqlTimestamp};
use store::{
    domain::{MerchantId, OrderId, Payment, PaymentAttempt, PaymentId, Refund, RefundId},
    payments::rejection,
};

use super::{
    fault::{Failure, Result},
    session::PaymentSession,
};

pub(super) const ATTEMPT: &str = "attempt";
pub(super) const REFUND: &str = "refund";

/// All rows of a partition.
pub(super) struct Stored {
    pub(super) payment: Payment,
    pub(super) attempts: Vec<PaymentAttempt>,
    pub(super) reserved_minor: i64,
    pub(super) decision_call: Option<Uuid>,
    /// The call that began each epoch.
    calls: Vec<(Uuid, u64)>,
}

impl Stored {
    pub(super) fn begun_by(&self, call: Uuid) -> Option<u64> {
        self.calls.iter().find(|(by, _)| *by == call).map(|(_, epoch)| *epoch)
    }
}

/// A row: the static columns of the partition, and the row's own columns where it has any.
#[derive(DeserializeRow)]
struct PartitionRow {
    kind: Option<String>,
    entry: Option<String>,
    order_id: Option<Uuid>,
    merchant_id: Option<Uuid>,
    amount_minor: Option<i64>,
    currency: Option<String>,
    method: Option<String>,
    provider: Option<String>,
    created_at: Option<CqlTimestamp>,
    epoch: Option<i64>,
    charge: Option<String>,
    provider_reference: Option<String>,
    decline_code: Option<String>,
    decided_at: Option<CqlTimestamp>,
    decision_call: Option<Uuid>,
    reserved_minor: Option<i64>,
    begun_at: Option<CqlTimestamp>,
    worker: Option<String>,
    call: Option<Uuid>,
    note: Option<String>,
    refund_minor: Option<i64>,
    done: Option<bool>,
}

/// The clustering key of an attempt: zero-padded digits, which sort as the number does.
pub(super) fn attempt_entry(epoch: u64) -> String {
    format!("{epoch:020}")
}

impl PaymentSession {
    /// Reads the committed state at quorum. `None` may mean that a write is in progress: use
    /// [`PaymentSession::read_serial`] before relying on it.
    pub(super) async fn read_quorum(&self, id: PaymentId) -> Result<Option<Stored>> {
        self.stored(&self.statements.partition, id).await
    }

    /// Reads at SERIAL, which first completes writes in progress.
    pub(super) async fn read_serial(&self, id: PaymentId) -> Result<Option<Stored>> {
        self.stored(&self.statements.partition_serial, id).await
    }

    async fn stored(&self, statement: &PreparedStatement, id: PaymentId) -> Result<Option<Stored>> {
        let result = self.rows(statement, (id.0,)).await?;
        let mut rows = Vec::with_capacity(result.rows_num());
        for row in result.rows::<PartitionRow>()? {
            rows.push(row.map_err(|error| Failure::Corrupt(format!("{id}: {error}")))?);
        }
        if rows.is_empty() { Ok(None) } else { Columns { of: id }.stored(rows).map(Some) }
    }
}

/// Names the payment in errors about its columns.
struct Columns {
    of: PaymentId,
}

impl Columns {
    fn stored(&self, rows: Vec<PartitionRow>) -> Result<Stored> {
        let mut stored = self.facts(rows.first().ok_or_else(|| self.damaged("partition", "is empty"))?)?;
        for row in rows {
            match row.kind.as_deref() {
                // The only row of a payment without attempts.
                None => {}
                Some(ATTEMPT) => self.attempt(row, &mut stored)?,
                Some(REFUND) => stored.payment.refunds.push(self.refund(row)?),
                Some(_) => return Err(self.damaged("kind", "is neither an attempt nor a refund")),
            }
        }
        stored.payment.refunds.sort_by_key(|refund| (refund.begun_at, refund.id));
        Ok(stored)
    }

    fn facts(&self, row: &PartitionRow) -> Result<Stored> {
        let decision = rejection::decision(row.provider_reference.clone(), row.decline_code.clone())
            .map_err(|why| self.damaged("decision", why))?;
        let payment = Payment {
            id: self.of,
            order: OrderId(self.there("order_id", row.order_id)?),
            merchant: MerchantId(self.there("merchant_id", row.merchant_id)?),
            amount_minor: self.there("amount_minor", row.amount_minor)?,
            currency: self.parsed("currency", row.currency.as_deref())?,
            method: self.there("method", row.method.clone())?,
            provider: self.there("provider", row.provider.clone())?,
            created_at: self.timestamp("created_at", row.created_at)?,
            epoch: self.number("epoch", row.epoch)?,
            charge: row.charge.clone(),
            decision,
            decided_at: row.decided_at.map(|at| self.timestamp("decided_at", Some(at))).transpose()?,
            refunds: Vec::new(),
        };
        Ok(Stored {
            payment,
            attempts: Vec::new(),
            reserved_minor: self.there("reserved_minor", row.reserved_minor)?,
            decision_call: row.decision_call,
            calls: Vec::new(),
        })
    }

    fn attempt(&self, row: PartitionRow, stored: &mut Stored) -> Result<()> {
        let epoch: u64 = self.parsed("entry", row.entry.as_deref())?;
        stored.calls.push((self.there("call", row.call)?, epoch));
        stored.attempts.push(PaymentAttempt {
            epoch,
            worker: self.there("worker", row.worker)?,
            begun_at: self.timestamp("begun_at", row.begun_at)?,
            note: row.note,
        });
        Ok(())
    }

    fn refund(&self, row: PartitionRow) -> Result<Refund> {
        Ok(Refund {
            id: self.parsed::<RefundId>("entry", row.entry.as_deref())?,
            amount_minor: self.there("refund_minor", row.refund_minor)?,
            begun_at: self.timestamp("begun_at", row.begun_at)?,
            state: rejection::refund_state(row.done),
        })
    }

    fn there<T>(&self, column: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.damaged(column, "is missing"))
    }

    fn parsed<T: FromStr>(&self, column: &str, text: Option<&str>) -> Result<T> {
        self.there(column, text)?.parse().map_err(|_| self.damaged(column, "does not parse"))
    }

    fn timestamp(&self, column: &str, millis: Option<CqlTimestamp>) -> Result<Timestamp> {
        let CqlTimestamp(millis) = self.there(column, millis)?;
        Timestamp::from_millisecond(millis).map_err(|error| self.damaged(column, &error.to_string()))
    }

    fn number(&self, column: &str, value: Option<i64>) -> Result<u64> {
        u64::try_from(self.there(column, value)?).map_err(|error| self.damaged(column, &error.to_string()))
    }

    fn damaged(&self, column: &str, why: &str) -> Failure {
        Failure::Corrupt(format!("{column} of {}: {why}", self.of))
    }
}
