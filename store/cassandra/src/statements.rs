//! Prepared statements, each with its consistency, timeout and idempotence.
//!
//! Reads, and inserts of rows whose values never differ, are marked idempotent; a conditional update never is.

use std::time::Duration;

use scylla::{
    client::session::Session,
    errors::PrepareError,
    statement::{Consistency, SerialConsistency, prepared::PreparedStatement},
};

use super::config::{CassandraConfig, ListingReads, MoneyScope};

/// Consistency and timeouts by class of statement; see the table in `docs/CASSANDRA.md`.
struct Classes<'a> {
    session: &'a Session,
    config: &'a CassandraConfig,
}

impl MoneyScope {
    pub(super) const fn quorum(self) -> Consistency {
        match self {
            Self::LocalDatacenter => Consistency::LocalQuorum,
            Self::AllDatacenters => Consistency::Quorum,
        }
    }

    pub(super) const fn serial_consistency(self) -> SerialConsistency {
        match self {
            Self::LocalDatacenter => SerialConsistency::LocalSerial,
            Self::AllDatacenters => SerialConsistency::Serial,
        }
    }

    /// The consistency of a read that completes writes in progress.
    pub(super) const fn serial_read(self) -> Consistency {
        match self {
            Self::LocalDatacenter => Consistency::LocalSerial,
            Self::AllDatacenters => Consistency::Serial,
        }
    }
}

impl Classes<'_> {
    /// A lightweight transaction. Its result rows differ between servers and outcomes, so their metadata is not cached.
    async fn decide(&self, text: &str) -> Result<PreparedStatement, PrepareError> {
        let quorum = self.config.money.quorum();
        let mut statement = self.prepared(text, quorum, self.config.money_timeout, false).await?;
        statement.set_serial_consistency(Some(self.config.money.serial_consistency()));
        statement.set_use_cached_result_metadata(false);
        Ok(statement)
    }

    async fn read_serial(&self, text: &str) -> Result<PreparedStatement, PrepareError> {
        self.prepared(text, self.config.money.serial_read(), self.config.money_timeout, true).await
    }

    /// A read of committed state, or an insert of a row whose values never differ.
    async fn repeatable(&self, text: &str) -> Result<PreparedStatement, PrepareError> {
        self.prepared(text, self.config.money.quorum(), self.config.money_timeout, true).await
    }

    async fn list(&self, text: &str) -> Result<PreparedStatement, PrepareError> {
        let consistency = match self.config.listings {
            ListingReads::One => Consistency::LocalOne,
            ListingReads::Quorum => Consistency::LocalQuorum,
        };
        self.prepared(text, consistency, self.config.listing_timeout, true).await
    }

    async fn prepared(
        &self,
        text: &str,
        consistency: Consistency,
        timeout: Duration,
        is_idempotent: bool,
    ) -> Result<PreparedStatement, PrepareError> {
        let mut statement = self.session.prepare(text).await?;
        statement.set_consistency(consistency);
        statement.set_request_timeout(Some(timeout));
        statement.set_is_idempotent(is_idempotent);
        Ok(statement)
    }
}

/// Declares [`Statements`], and their preparation: the name of each, its class and its text.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident: $class:ident = $text:expr;)+) => {
        pub(super) struct Statements {
            $($(#[$doc])* pub(super) $name: PreparedStatement,)+
        }

        impl Statements {
            /// Prepares all statements; the session must use the keyspace.
            pub(super) async fn prepare(
                session: &Session,
                config: &CassandraConfig,
            ) -> Result<Self, PrepareError> {
                let to = Classes { session, config };
                Ok(Self { $($name: to.$class($text).await?,)+ })
            }
        }
    };
}

statements! {
    open: decide = "INSERT INTO payments (payment_id, order_id, merchant_id, amount_minor, currency, method,
        provider, created_at, epoch, reserved_minor) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0) IF NOT EXISTS";
    /// Writes the attempt and raises the epoch, atomically.
    begin_attempt: decide = "UPDATE payments SET epoch = ?, worker = ?, begun_at = ?, call = ?
        WHERE payment_id = ? AND kind = 'attempt' AND entry = ?
        IF epoch = ? AND decided_at = null";
    note_attempt: decide = "UPDATE payments SET note = ?, noted_at = ?
        WHERE payment_id = ? AND kind = 'attempt' AND entry = ?
        IF begun_at != null AND noted_at = null";
    record_charge: decide = "UPDATE payments SET charge = ?, charge_recorded_at = ?
        WHERE payment_id = ? IF epoch = ? AND decided_at = null AND charge = null";
    capture: decide = "UPDATE payments SET provider_reference = ?, decided_at = ?, decision_call = ?
        WHERE payment_id = ? IF epoch = ? AND decided_at = null";
    decline: decide = "UPDATE payments SET decline_code = ?, decided_at = ?, decision_call = ?
        WHERE payment_id = ? IF epoch = ? AND decided_at = null";
    /// Writes the refund and its reservation, atomically. Comparing the reserved sum suffices whatever other writers
    /// did: the refundable amount depends on nothing else.
    begin_refund: decide = "UPDATE payments SET reserved_minor = ?, refund_minor = ?, begun_at = ?
        WHERE payment_id = ? AND kind = 'refund' AND entry = ?
        IF reserved_minor = ? AND begun_at = null";
    complete_refund: decide = "UPDATE payments SET done = true, refund_reference = ?, ended_at = ?
        WHERE payment_id = ? AND kind = 'refund' AND entry = ?
        IF begun_at != null AND ended_at = null";
    /// Ends the refund and frees its amount, atomically.
    fail_refund: decide =
        "UPDATE payments SET done = false, refund_reference = ?, ended_at = ?, reserved_minor = ?
        WHERE payment_id = ? AND kind = 'refund' AND entry = ?
        IF reserved_minor = ? AND begun_at != null AND ended_at = null";

    /// Reads a payment's partition at SERIAL, completing writes that a crashed coordinator left in progress.
    partition_serial: read_serial = PARTITION;
    /// Reads the committed state of a payment's partition at quorum.
    partition: repeatable = PARTITION;
    place: repeatable = "SELECT created_at FROM payments WHERE payment_id = ? LIMIT 1";

    add_to_day: repeatable = "INSERT INTO payments_by_day
        (merchant_id, day, created_at, payment_id, order_id, amount_minor, currency) VALUES (?, ?, ?, ?, ?, ?, ?)";
    add_reference: repeatable = "INSERT INTO payments_by_reference (provider, provider_reference, payment_id)
        VALUES (?, ?, ?)";
    /// A report of the provider moves money, so it is read at quorum, not from the nearest replica.
    of_reference: repeatable =
        "SELECT payment_id FROM payments_by_reference WHERE provider = ? AND provider_reference = ?";
    of_day: list = "SELECT payment_id, order_id, amount_minor, currency, created_at FROM payments_by_day
        WHERE merchant_id = ? AND day = ? LIMIT ?";
    of_day_after: list = "SELECT payment_id, order_id, amount_minor, currency, created_at FROM payments_by_day
        WHERE merchant_id = ? AND day = ? AND (created_at, payment_id) > (?, ?) LIMIT ?";

    /// All payments in token order; pages of an audit, which must not miss a payment that one replica has not received
    /// yet. With DISTINCT, static columns are read once per partition. A payment whose facts are missing is reported as
    /// damaged.
    all: repeatable =
        "SELECT DISTINCT payment_id, order_id, amount_minor, currency, created_at FROM payments LIMIT ?";
    all_after: repeatable =
        "SELECT DISTINCT payment_id, order_id, amount_minor, currency, created_at FROM payments
        WHERE token(payment_id) > token(?) LIMIT ?";

    ping: repeatable = "SELECT version FROM schema_migrations WHERE version = 1";
}

const PARTITION: &str = "SELECT kind, entry, order_id, merchant_id, amount_minor, currency, method, provider,
    created_at, epoch, charge, provider_reference, decline_code, decided_at, decision_call, reserved_minor,
    begun_at, worker, call, note, refund_minor, done FROM payments WHERE payment_id = ?";
