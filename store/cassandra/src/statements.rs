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

/// All prepared statements of the store.
pub(super) struct Statements {
    pub(super) open: PreparedStatement,
    pub(super) begin_attempt: PreparedStatement,
    pub(super) note_attempt: PreparedStatement,
    pub(super) record_charge: PreparedStatement,
    pub(super) capture: PreparedStatement,
    pub(super) decline: PreparedStatement,
    pub(super) begin_refund: PreparedStatement,
    pub(super) complete_refund: PreparedStatement,
    pub(super) fail_refund: PreparedStatement,

    /// Reads a payment's partition at SERIAL, completing writes that a crashed coordinator left in progress.
    pub(super) partition_serial: PreparedStatement,
    /// Reads the committed state of a payment's partition at quorum.
    pub(super) partition: PreparedStatement,
    pub(super) place: PreparedStatement,

    pub(super) add_to_order: PreparedStatement,
    pub(super) add_to_day: PreparedStatement,
    pub(super) add_reference: PreparedStatement,
    pub(super) of_order: PreparedStatement,
    pub(super) of_reference: PreparedStatement,
    pub(super) of_day: PreparedStatement,
    pub(super) of_day_after: PreparedStatement,

    /// All payments in token order; pages of an audit.
    pub(super) all: PreparedStatement,
    pub(super) all_after: PreparedStatement,

    pub(super) ping: PreparedStatement,
}

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

impl Statements {
    /// Prepares all statements; the session must use the keyspace.
    pub(super) async fn prepare(session: &Session, config: &CassandraConfig) -> Result<Self, PrepareError> {
        let to = Classes { session, config };
        Ok(Self {
            open: to.decide(OPEN).await?,
            begin_attempt: to.decide(BEGIN_ATTEMPT).await?,
            note_attempt: to.decide(NOTE_ATTEMPT).await?,
            record_charge: to.decide(RECORD_CHARGE).await?,
            capture: to.decide(CAPTURE).await?,
            decline: to.decide(DECLINE).await?,
            begin_refund: to.decide(BEGIN_REFUND).await?,
            complete_refund: to.decide(COMPLETE_REFUND).await?,
            fail_refund: to.decide(FAIL_REFUND).await?,
            partition_serial: to.read_serial(PARTITION).await?,
            partition: to.repeatable(PARTITION).await?,
            place: to.repeatable("SELECT created_at FROM payments WHERE payment_id = ? LIMIT 1").await?,
            add_to_order: to
                .repeatable("INSERT INTO payments_by_order (order_id, payment_id) VALUES (?, ?)")
                .await?,
            add_to_day: to.repeatable(ADD_TO_DAY).await?,
            add_reference: to.repeatable(ADD_REFERENCE).await?,
            of_order: to.list("SELECT payment_id FROM payments_by_order WHERE order_id = ?").await?,
            // A report of the provider moves money, so it is read at quorum, not from the nearest replica.
            of_reference: to.repeatable(OF_REFERENCE).await?,
            of_day: to.list(OF_DAY).await?,
            of_day_after: to.list(OF_DAY_AFTER).await?,
            // An audit must not miss a payment that one replica has not received yet.
            all: to.repeatable(ALL).await?,
            all_after: to.repeatable(ALL_AFTER).await?,
            ping: to.repeatable("SELECT version FROM schema_migrations WHERE version = 1").await?,
        })
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

const OPEN: &str = "INSERT INTO payments (payment_id, order_id, merchant_id, amount_minor, currency, method,
    provider, created_at, epoch, reserved_minor) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, 0) IF NOT EXISTS";

/// Writes the attempt and raises the epoch, atomically.
const BEGIN_ATTEMPT: &str = "UPDATE payments SET epoch = ?, worker = ?, begun_at = ?, call = ?
    WHERE payment_id = ? AND kind = 'attempt' AND entry = ?
    IF epoch = ? AND decided_at = null";

const NOTE_ATTEMPT: &str = "UPDATE payments SET note = ?, noted_at = ?
    WHERE payment_id = ? AND kind = 'attempt' AND entry = ?
    IF begun_at != null AND noted_at = null";

const RECORD_CHARGE: &str = "UPDATE payments SET charge = ?, charge_recorded_at = ?
    WHERE payment_id = ? IF epoch = ? AND decided_at = null AND charge = null";

const CAPTURE: &str = "UPDATE payments SET provider_reference = ?, decided_at = ?, decision_call = ?
    WHERE payment_id = ? IF epoch = ? AND decided_at = null";

const DECLINE: &str = "UPDATE payments SET decline_code = ?, decided_at = ?, decision_call = ?
    WHERE payment_id = ? IF epoch = ? AND decided_at = null";

/// Writes the refund and its reservation, atomically. Comparing the reserved sum suffices whatever other writers did:
/// the refundable amount depends on nothing else.
const BEGIN_REFUND: &str = "UPDATE payments SET reserved_minor = ?, refund_minor = ?, begun_at = ?
    WHERE payment_id = ? AND kind = 'refund' AND entry = ?
    IF reserved_minor = ? AND begun_at = null";

const COMPLETE_REFUND: &str = "UPDATE payments SET done = true, refund_reference = ?, ended_at = ?
    WHERE payment_id = ? AND kind = 'refund' AND entry = ?
    IF begun_at != null AND ended_at = null";

/// Ends the refund and frees its amount, atomically.
const FAIL_REFUND: &str =
    "UPDATE payments SET done = false, refund_reference = ?, ended_at = ?, reserved_minor = ?
    WHERE payment_id = ? AND kind = 'refund' AND entry = ?
    IF reserved_minor = ? AND begun_at != null AND ended_at = null";

const PARTITION: &str = "SELECT kind, entry, order_id, merchant_id, amount_minor, currency, method, provider,
    created_at, epoch, charge, provider_reference, decline_code, decided_at, decision_call, reserved_minor,
    begun_at, worker, call, note, refund_minor, done FROM payments WHERE payment_id = ?";

const ADD_TO_DAY: &str = "INSERT INTO payments_by_day
    (merchant_id, day, created_at, payment_id, order_id, amount_minor, currency) VALUES (?, ?, ?, ?, ?, ?, ?)";

const ADD_REFERENCE: &str = "INSERT INTO payments_by_reference (provider, provider_reference, payment_id)
    VALUES (?, ?, ?)";

const OF_REFERENCE: &str =
    "SELECT payment_id FROM payments_by_reference WHERE provider = ? AND provider_reference = ?";

const OF_DAY: &str = "SELECT payment_id, order_id, amount_minor, currency, created_at FROM payments_by_day
    WHERE merchant_id = ? AND day = ? LIMIT ?";

/// With DISTINCT, static columns are read once per partition. A payment whose facts are missing is reported as damaged.
const ALL: &str =
    "SELECT DISTINCT payment_id, order_id, amount_minor, currency, created_at FROM payments LIMIT ?";

const ALL_AFTER: &str =
    "SELECT DISTINCT payment_id, order_id, amount_minor, currency, created_at FROM payments
    WHERE token(payment_id) > token(?) LIMIT ?";

const OF_DAY_AFTER: &str =
    "SELECT payment_id, order_id, amount_minor, currency, created_at FROM payments_by_day
    WHERE merchant_id = ? AND day = ? AND (created_at, payment_id) > (?, ?) LIMIT ?";
