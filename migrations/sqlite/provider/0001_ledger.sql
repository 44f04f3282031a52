-- The sandbox provider's own books. A new file; takes no lock anyone waits for.

-- One row per idempotency key: what was asked (so that the same key with another body is refused), how often, and
-- the answer once there is one. Looked up by key only: the primary key serves every query.
CREATE TABLE requests (
    idempotency_key TEXT PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    calls INTEGER NOT NULL,
    answer TEXT
) STRICT, WITHOUT ROWID;

-- Money that moved; append-only.
CREATE TABLE ledger (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL CHECK (type IN ('charge', 'refund')),
    idempotency_key TEXT NOT NULL UNIQUE,
    -- The charge itself, or the charge a refund belongs to.
    charge TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    currency TEXT NOT NULL,
    order_id TEXT,
    created_at INTEGER NOT NULL
) STRICT;

-- EXPLAIN: "SEARCH ledger USING INDEX ledger_by_charge (charge=?)" for the sum of a charge's refunds.
CREATE INDEX ledger_by_charge ON ledger (charge);
-- EXPLAIN: "SEARCH ledger USING INDEX ledger_by_order (order_id=? AND rowid>?)" for one order's entries, and the
-- grouping by order in the summary needs no sorting.
CREATE INDEX ledger_by_order ON ledger (order_id) WHERE order_id IS NOT NULL;
