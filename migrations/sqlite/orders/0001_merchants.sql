-- Merchants and their API keys. Only SHA-256 hashes of keys are kept.
--
-- EXPLAIN QUERY PLAN
--   key by hash:  SEARCH api_keys USING PRIMARY KEY (hash=?)
CREATE TABLE merchants (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    hash        BLOB NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    id          TEXT NOT NULL UNIQUE,
    merchant_id TEXT NOT NULL REFERENCES merchants (id),
    scope       TEXT NOT NULL CHECK (scope IN ('publishable', 'secret')),
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
