//! The statements of payments. The condition of a write is part of its statement.

pub(super) const OPEN: &str = "
    INSERT INTO payments (id, order_id, merchant_id, amount_minor, currency, method, provider, created_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING";

pub(super) const BEGIN_ATTEMPT: &str = "
    INSERT INTO payment_attempts (payment_id, epoch, worker, begun_at)
    SELECT p.id, 1 + coalesce((SELECT max(a.epoch) FROM payment_attempts a WHERE a.payment_id = p.id), 0), ?2, ?3
    FROM payments p
    WHERE p.id = ?1 AND NOT EXISTS (SELECT 1 FROM payment_decisions d WHERE d.payment_id = p.id)
    RETURNING epoch";

/// The first note stands; a note on an attempt that never began is dropped.
pub(super) const ANNOTATE_ATTEMPT: &str = "
    INSERT INTO payment_attempt_notes (payment_id, epoch, note, noted_at)
    SELECT payment_id, epoch, ?3, ?4 FROM payment_attempts WHERE payment_id = ?1 AND epoch = ?2
    ON CONFLICT (payment_id, epoch) DO NOTHING";

/// The first charge stands.
pub(super) const RECORD_CHARGE: &str = "
    INSERT INTO payment_charges (payment_id, epoch, reference, recorded_at)
    SELECT ?1, ?2, ?3, ?4
    WHERE ?2 = (SELECT max(a.epoch) FROM payment_attempts a WHERE a.payment_id = ?1)
      AND NOT EXISTS (SELECT 1 FROM payment_decisions d WHERE d.payment_id = ?1)
    ON CONFLICT (payment_id) DO NOTHING";

pub(super) const DECIDE: &str = "
    INSERT INTO payment_decisions (payment_id, epoch, provider_reference, decline_code, decided_at)
    SELECT ?1, ?2, ?3, ?4, ?5
    WHERE ?2 = (SELECT max(a.epoch) FROM payment_attempts a WHERE a.payment_id = ?1)
      AND NOT EXISTS (SELECT 1 FROM payment_decisions d WHERE d.payment_id = ?1)";

/// A zero or negative amount is rejected as well; it would raise the refundable remainder. The amount is compared with
/// the remainder: adding it to the sum could overflow into a float, which rounds.
pub(super) const BEGIN_REFUND: &str = "
    INSERT INTO payment_refunds (payment_id, refund_id, amount_minor, begun_at)
    SELECT p.id, ?2, ?3, ?4
    FROM payments p JOIN payment_decisions d ON d.payment_id = p.id AND d.provider_reference IS NOT NULL
    WHERE p.id = ?1 AND ?3 > 0 AND ?3 <= p.amount_minor - (
        SELECT coalesce(sum(r.amount_minor), 0)
        FROM payment_refunds r LEFT JOIN payment_refund_ends e USING (payment_id, refund_id)
        WHERE r.payment_id = ?1 AND coalesce(e.done, 1) = 1)
    ON CONFLICT (payment_id, refund_id) DO NOTHING";

pub(super) const END_REFUND: &str = "
    INSERT INTO payment_refund_ends (payment_id, refund_id, done, provider_reference, ended_at)
    SELECT payment_id, refund_id, ?3, ?4, ?5 FROM payment_refunds WHERE payment_id = ?1 AND refund_id = ?2
    ON CONFLICT (payment_id, refund_id) DO NOTHING";
pub(super) const REFUND_END: &str =
    "SELECT done FROM payment_refund_ends WHERE payment_id = ? AND refund_id = ?";

/// Payments, by their ids in a JSON array.
pub(super) const PAYMENTS: &str = "
    SELECT p.id, p.order_id, p.merchant_id, p.amount_minor, p.currency, p.method, p.provider, p.created_at,
        (SELECT coalesce(max(a.epoch), 0) FROM payment_attempts a WHERE a.payment_id = p.id) AS epoch,
        (SELECT c.reference FROM payment_charges c WHERE c.payment_id = p.id) AS charge,
        d.provider_reference, d.decline_code, d.decided_at
    FROM payments p LEFT JOIN payment_decisions d ON d.payment_id = p.id
    WHERE p.id IN (SELECT value FROM json_each(?))";
pub(super) const REFUNDS: &str = "
    SELECT r.payment_id, r.refund_id, r.amount_minor, r.begun_at, e.done
    FROM payment_refunds r LEFT JOIN payment_refund_ends e USING (payment_id, refund_id)
    WHERE r.payment_id IN (SELECT value FROM json_each(?)) ORDER BY r.begun_at, r.refund_id";
pub(super) const ATTEMPTS: &str = "
    SELECT a.payment_id, a.epoch, a.worker, a.begun_at, n.note
    FROM payment_attempts a LEFT JOIN payment_attempt_notes n USING (payment_id, epoch)
    WHERE a.payment_id = ? ORDER BY a.epoch";

/// The payment captured under a provider's reference.
pub(super) const BY_REFERENCE: &str = "
    SELECT p.id FROM payment_decisions d JOIN payments p ON p.id = d.payment_id
    WHERE d.provider_reference = ? AND p.provider = ?";

/// A page after an unknown payment is empty: the comparison with its missing row is NULL.
pub(super) const OF_DAY: &str = "
    SELECT id, order_id, amount_minor, currency, created_at FROM payments
    WHERE merchant_id = ?1 AND created_at >= ?2 AND created_at < ?3
      AND (?4 IS NULL OR (created_at, id) > (SELECT created_at, id FROM payments WHERE id = ?4))
    ORDER BY created_at, id LIMIT ?5";

/// In the order of the primary key, which is the table itself.
pub(super) const SCAN: &str = "
    SELECT id, order_id, amount_minor, currency, created_at FROM payments WHERE id > ? ORDER BY id LIMIT ?";
