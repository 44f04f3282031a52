-- Merchants and their API keys. Only SHA-256 hashes of keys are kept.
--
-- Locks: creates empty tables only.
-- Indexes: both keys; `api_keys.id` is what logs show, so it must name one key.
CREATE TABLE merchants (
    id         uuid NOT NULL PRIMARY KEY,
    name       text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE api_keys (
    hash        bytea NOT NULL PRIMARY KEY CHECK (octet_length(hash) = 32),
    id          uuid NOT NULL UNIQUE,
    merchant_id uuid NOT NULL REFERENCES merchants (id),
    scope       text NOT NULL CHECK (scope IN ('publishable', 'secret')),
    created_at  timestamptz NOT NULL
);
