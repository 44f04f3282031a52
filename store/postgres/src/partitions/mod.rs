//! Partitions by time: created ahead, dropped when expired, by a scheduled job.
//!
//! Guarantees: both methods are idempotent and safe to call from several processes at once. A partition that is still
//! needed is not dropped, whatever time is passed.
//!
//! Partitions are months in UTC, and a row's month is the time in its id: ids are UUIDv7, whose first 48 bits are their
//! creation time in milliseconds. So a partition's bound is an id, a key that is unique by id is unique over all
//! months, and a look-up by id reads one partition.

mod tables;

use base::{
    Timestamp,
    ids::{Uuid, floor},
};
use jiff::{ToSpan, civil::Time, tz::TimeZone};
use store::domain::OrderId;

pub(crate) use tables::{create_all, months_there};

/// Largest clock difference between two machines that a lower bound by id must tolerate.
const SKEW_MAX_MS: i64 = 24 * 60 * 60 * 1000;

/// Tables that are partitioned alike and have the same retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// Orders with their refunds and mails. By the order's id.
    Orders,
    /// Events and commands. By the message's id.
    Outbox,
    /// Attempts to deliver webhooks. By the event's id.
    WebhookAttempts,
}

impl Family {
    pub const ALL: [Self; 3] = [Self::Orders, Self::Outbox, Self::WebhookAttempts];
}

/// Result of [`PostgresOrders::drop_partitions`](crate::PostgresOrders::drop_partitions).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Dropped tables, oldest first.
    pub tables: Vec<String>,
    /// Expired months that were kept, and why.
    pub kept: Vec<(String, &'static str)>,
}

/// A month in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Month(jiff::civil::Date);

impl Month {
    pub(crate) fn of(at: Timestamp) -> Self {
        Self(TimeZone::UTC.to_datetime(at).date().first_of_month())
    }

    /// The month `months` later; `None` beyond the calendar.
    pub(crate) fn plus(self, months: u32) -> Option<Self> {
        self.0.checked_add(i64::from(months).months()).ok().map(Self)
    }

    pub(crate) fn start(self) -> Option<Timestamp> {
        TimeZone::UTC.to_timestamp(self.0.to_datetime(Time::midnight())).ok()
    }

    /// Suffix of the names of its tables, such as `y2027m01`.
    pub(crate) fn suffix(self) -> String {
        format!("y{:04}m{:02}", self.0.year(), self.0.month())
    }

    /// Parses the suffix of a table's name; `None` for the default partition.
    pub(crate) fn of_table(table: &str) -> Option<Self> {
        let (_, suffix) = table.rsplit_once("_y")?;
        let (year, month) = suffix.split_once('m')?;
        jiff::civil::Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok().map(Self)
    }
}

/// Lower bound for the ids of rows derived from this order.
pub(crate) fn earliest_of(order: OrderId) -> Uuid {
    let made = base::ids::timestamp_of(order.0).map_or(0, Timestamp::as_millisecond);
    floor(
        Timestamp::from_millisecond(made.saturating_sub(SKEW_MAX_MS).max(0)).unwrap_or(Timestamp::UNIX_EPOCH),
    )
}

#[cfg(test)]
mod tests {
    use base::Ambient;

    use super::*;

    #[test]
    fn a_month_is_bounded_by_ids() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let month = Month::of(at("2026-12-31T23:59:59.999Z"));
        assert_eq!((month.suffix().as_str(), month.start()), ("y2026m12", Some(at("2026-12-01T00:00:00Z"))));
        let next = month.plus(1).expect("there is one");
        assert_eq!(next.suffix(), "y2027m01");
        assert_eq!(Month::of_table("webhook_attempts_y2027m01"), Some(next));
        assert_eq!(Month::of_table("orders_default"), None);
        let bound = floor(next.start().expect("has one"));
        for (text, within) in [("2026-12-31T23:59:59.999Z", true), ("2027-01-01T00:00:00Z", false)] {
            let (ambient, _) = Ambient::steered(3, at(text));
            assert_eq!(ambient.uuid() < bound, within, "{text}");
        }
    }

    #[test]
    fn what_comes_of_an_order_is_not_before_it() {
        let (ambient, _) =
            Ambient::steered(3, Timestamp::from_millisecond(1_710_072_000_000).expect("a time"));
        let order = OrderId::fresh(&ambient);
        assert!(earliest_of(order) < ambient.uuid());
        assert_eq!(earliest_of(OrderId(Uuid::nil())), Uuid::nil());
    }
}
