//! Lookup tables: the copies of payments by which they are found and listed.
//!
//! Guarantees: a copy is made from the payment's partition, so concurrent copies are equal. After a crash before a
//! copy, a repetition of the call writes it: opening a payment writes all of them, recording a capture the one of the
//! provider's reference. Until then a listing lacks the payment; the payment itself is never affected.

use base::{Timestamp, ids::Uuid};
use futures::future::try_join;
use scylla::{
    DeserializeRow,
    response::query_result::QueryRowsResult,
    serialize::row::SerializeRow,
    statement::prepared::PreparedStatement,
    value::{CqlDate, CqlTimestamp},
};
use store::{
    domain::{Decision, MerchantId, OrderId, Payment, PaymentId},
    payments::{PaymentEntry, rejection},
};

use super::{
    attempts::millis,
    fault::{Failure, Result},
    session::PaymentSession,
};

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

#[derive(DeserializeRow)]
struct EntryRow {
    payment_id: Uuid,
    order_id: Uuid,
    amount_minor: i64,
    currency: String,
    created_at: CqlTimestamp,
}

impl PaymentSession {
    /// Writes all copies. Concurrently, not as a batch: a batch over partitions gives no isolation and loads its
    /// coordinator.
    pub(super) async fn copy_to_lookups(&self, payment: &Payment) -> Result<()> {
        let day_row = (
            payment.merchant.0,
            day_of(payment.created_at),
            millis(payment.created_at),
            payment.id.0,
            payment.order.0,
            payment.amount_minor,
            payment.currency.as_str(),
        );
        let day = self.copy(&self.statements.add_to_day, day_row);
        try_join(day, self.copy_reference_of(payment)).await?;
        Ok(())
    }

    /// Writes the copy of a captured payment's provider reference.
    pub(super) async fn copy_reference(&self, id: PaymentId) -> Result<()> {
        match self.read_quorum(id).await? {
            Some(stored) => self.copy_reference_of(&stored.payment).await,
            None => Ok(()),
        }
    }

    async fn copy_reference_of(&self, payment: &Payment) -> Result<()> {
        let Some(Decision::Captured { provider_reference }) = &payment.decision else { return Ok(()) };
        let values = (payment.provider.as_str(), provider_reference.as_str(), payment.id.0);
        self.copy(&self.statements.add_reference, values).await
    }

    pub(super) async fn of_reference(&self, provider: &str, reference: &str) -> Result<Option<PaymentId>> {
        let rows = self.rows(&self.statements.of_reference, (provider, reference)).await?;
        Ok(ids(&rows)?.into_iter().next())
    }

    /// A page after an unknown payment is empty.
    pub(super) async fn of_day(
        &self,
        merchant: MerchantId,
        day: Timestamp,
        after: Option<PaymentId>,
        limit: u32,
    ) -> Result<Vec<PaymentEntry>> {
        if limit == 0 {
            // The server rejects LIMIT 0.
            return Ok(Vec::new());
        }
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        match after {
            None => self.entries(&self.statements.of_day, (merchant.0, day_of(day), limit)).await,
            Some(after) => {
                let Some(opened) = self.place_of(after).await? else { return Ok(Vec::new()) };
                let values = (merchant.0, day_of(day), opened, after.0, limit);
                self.entries(&self.statements.of_day_after, values).await
            }
        }
    }

    /// Pages in token order, the nodes' order on disk: each page reads one token range. Reads the payments themselves,
    /// so that a payment without its copies is not missed.
    pub(super) async fn all(&self, after: Option<PaymentId>, limit: u32) -> Result<Vec<PaymentEntry>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        match after {
            None => self.entries(&self.statements.all, (limit,)).await,
            Some(after) => self.entries(&self.statements.all_after, (after.0, limit)).await,
        }
    }

    async fn entries(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send + Sync,
    ) -> Result<Vec<PaymentEntry>> {
        self.rows(statement, values).await?.rows::<EntryRow>()?.map(|row| entry(row?)).collect()
    }

    /// The time at which a payment was opened, which with its id is its position in the listing of a day.
    async fn place_of(&self, id: PaymentId) -> Result<Option<CqlTimestamp>> {
        let rows = self.rows(&self.statements.place, (id.0,)).await?;
        Ok(rows.maybe_first_row::<(Option<CqlTimestamp>,)>()?.and_then(|(opened,)| opened))
    }
}

fn ids(rows: &QueryRowsResult) -> Result<Vec<PaymentId>> {
    rows.rows::<(Uuid,)>()?.map(|row| Ok(PaymentId(row?.0))).collect()
}

fn entry(row: EntryRow) -> Result<PaymentEntry> {
    let id = PaymentId(row.payment_id);
    let damaged = |column: &str| Failure::Corrupt(format!("{column} of {id} in a listing does not parse"));
    Ok(PaymentEntry {
        id,
        order: OrderId(row.order_id),
        amount_minor: row.amount_minor,
        currency: row.currency.parse().map_err(|_| damaged("currency"))?,
        created_at: Timestamp::from_millisecond(row.created_at.0).map_err(|_| damaged("created_at"))?,
    })
}

/// The UTC day. On the wire a date counts days from -5877641-06-23, with 1970-01-01 in the middle.
fn day_of(at: Timestamp) -> CqlDate {
    let days = rejection::day_millis(at).0 / DAY_MILLIS;
    // A `Timestamp` spans the years -9999 to 9999, far within the range.
    CqlDate(u32::try_from(days + (1 << 31)).unwrap_or(1 << 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_before_and_after_the_epoch() {
        let day = |millis| day_of(Timestamp::from_millisecond(millis).expect("a time")).0;
        assert_eq!(day(0), 1 << 31);
        assert_eq!(day(DAY_MILLIS - 1), 1 << 31);
        assert_eq!(day(DAY_MILLIS), (1 << 31) + 1);
        assert_eq!(day(-1), (1 << 31) - 1);
    }
}
