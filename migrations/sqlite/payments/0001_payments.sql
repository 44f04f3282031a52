-- Payments: append-only rows, at most one decision per payment. Locks nothing: the tables are new.
--
-- Times are milliseconds since the epoch, amounts are minor units, ids are text with their prefix. Each table is keyed
-- by its payment first, as in Cassandra, where a payment is one partition and every condition stays inside it.
-- WITHOUT ROWID: rows are found by their whole key or its first part, so the key is the table.

CREATE TABLE payments (
    id           TEXT    NOT NULL PRIMARY KEY,
    order_id     TEXT    NOT NULL,
    merchant_id  TEXT    NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor >= 0),
    currency     TEXT    NOT NULL,
    method       TEXT    NOT NULL,
    provider     TEXT    NOT NULL,
    created_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One merchant's day in order. EXPLAIN: SEARCH payments USING INDEX payments_of_day
-- (merchant_id=? AND created_at>? AND created_at<?), no sorting.
CREATE INDEX payments_of_day ON payments (merchant_id, created_at, id);

CREATE TABLE payment_attempts (
    payment_id TEXT    NOT NULL REFERENCES payments (id),
    epoch      INTEGER NOT NULL CHECK (epoch >= 1),
    worker     TEXT    NOT NULL,
    begun_at   INTEGER NOT NULL,
    PRIMARY KEY (payment_id, epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE payment_attempt_notes (
    payment_id TEXT    NOT NULL,
    epoch      INTEGER NOT NULL,
    note       TEXT    NOT NULL,
    noted_at   INTEGER NOT NULL,
    PRIMARY KEY (payment_id, epoch),
    FOREIGN KEY (payment_id, epoch) REFERENCES payment_attempts (payment_id, epoch)
) STRICT, WITHOUT ROWID;

-- The primary key is what makes a second decision impossible, whatever the statements say.
CREATE TABLE payment_decisions (
    payment_id         TEXT    NOT NULL PRIMARY KEY,
    epoch              INTEGER NOT NULL,
    provider_reference TEXT,
    decline_code       TEXT,
    decided_at         INTEGER NOT NULL,
    CHECK ((provider_reference IS NULL) <> (decline_code IS NULL)),
    FOREIGN KEY (payment_id, epoch) REFERENCES payment_attempts (payment_id, epoch)
) STRICT, WITHOUT ROWID;

-- From a provider's report to the payment. EXPLAIN: SEARCH d USING INDEX payment_decisions_reference
-- (provider_reference=?), SEARCH p USING PRIMARY KEY (id=?). Declined payments are not in it.
CREATE INDEX payment_decisions_reference ON payment_decisions (provider_reference)
    WHERE provider_reference IS NOT NULL;

CREATE TABLE payment_refunds (
    payment_id   TEXT    NOT NULL REFERENCES payment_decisions (payment_id),
    refund_id    TEXT    NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    begun_at     INTEGER NOT NULL,
    PRIMARY KEY (payment_id, refund_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE payment_refund_ends (
    payment_id         TEXT    NOT NULL,
    refund_id          TEXT    NOT NULL,
    done               INTEGER NOT NULL CHECK (done IN (0, 1)),
    provider_reference TEXT    NOT NULL,
    ended_at           INTEGER NOT NULL,
    PRIMARY KEY (payment_id, refund_id),
    FOREIGN KEY (payment_id, refund_id) REFERENCES payment_refunds (payment_id, refund_id)
) STRICT, WITHOUT ROWID;

-- What is written stays: a defect or a hand at the console must not rewrite what happened to money.
CREATE TRIGGER payments_no_update BEFORE UPDATE ON payments
BEGIN SELECT RAISE(ABORT, 'payments is append-only'); END;
CREATE TRIGGER payments_no_delete BEFORE DELETE ON payments
BEGIN SELECT RAISE(ABORT, 'payments is append-only'); END;
CREATE TRIGGER payment_attempts_no_update BEFORE UPDATE ON payment_attempts
BEGIN SELECT RAISE(ABORT, 'payment_attempts is append-only'); END;
CREATE TRIGGER payment_attempts_no_delete BEFORE DELETE ON payment_attempts
BEGIN SELECT RAISE(ABORT, 'payment_attempts is append-only'); END;
CREATE TRIGGER payment_attempt_notes_no_update BEFORE UPDATE ON payment_attempt_notes
BEGIN SELECT RAISE(ABORT, 'payment_attempt_notes is append-only'); END;
CREATE TRIGGER payment_attempt_notes_no_delete BEFORE DELETE ON payment_attempt_notes
BEGIN SELECT RAISE(ABORT, 'payment_attempt_notes is append-only'); END;
CREATE TRIGGER payment_decisions_no_update BEFORE UPDATE ON payment_decisions
BEGIN SELECT RAISE(ABORT, 'payment_decisions is append-only'); END;
CREATE TRIGGER payment_decisions_no_delete BEFORE DELETE ON payment_decisions
BEGIN SELECT RAISE(ABORT, 'payment_decisions is append-only'); END;
CREATE TRIGGER payment_refunds_no_update BEFORE UPDATE ON payment_refunds
BEGIN SELECT RAISE(ABORT, 'payment_refunds is append-only'); END;
CREATE TRIGGER payment_refunds_no_delete BEFORE DELETE ON payment_refunds
BEGIN SELECT RAISE(ABORT, 'payment_refunds is append-only'); END;
CREATE TRIGGER payment_refund_ends_no_update BEFORE UPDATE ON payment_refund_ends
BEGIN SELECT RAISE(ABORT, 'payment_refund_ends is append-only'); END;
CREATE TRIGGER payment_refund_ends_no_delete BEFORE DELETE ON payment_refund_ends
BEGIN SELECT RAISE(ABORT, 'payment_refund_ends is append-only'); END;
