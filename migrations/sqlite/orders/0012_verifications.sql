-- Requests to prove a mail address: registrations that wait for their proof, and password resets. Only hashes of
-- passwords and of tokens are kept. `email_key` is the address as it is compared, `email` as it is written to;
-- `token_hash` is empty before the mail is rendered and after the token was used. Rows go when they have expired.
--
-- `customers.idempotency_key` is no longer written: the request that a key repeats is the one for a proof.
--
-- EXPLAIN QUERY PLAN
--   by id:         SEARCH verifications USING INDEX sqlite_autoindex_verifications_1 (merchant_id=? AND id=?)
--   of an address: SEARCH verifications USING INDEX verifications_by_email (merchant_id=? AND email_key=?)
--   by token:      SEARCH verifications USING INDEX verifications_by_token (merchant_id=? AND token_hash=?)
--   by key:        SEARCH verifications USING INDEX verifications_by_key (merchant_id=? AND idempotency_key=?)
--   expired:       SEARCH verifications USING COVERING INDEX verifications_by_expiry (expires_at<?)
CREATE TABLE verifications (
    merchant_id     TEXT NOT NULL REFERENCES merchants (id),
    id              TEXT NOT NULL,
    purpose         TEXT NOT NULL CHECK (purpose IN ('registration', 'password_reset')),
    email           TEXT NOT NULL,
    email_key       TEXT NOT NULL,
    name            TEXT,
    password_hash   TEXT,
    idempotency_key TEXT CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    token_hash      BLOB CHECK (length(token_hash) = 32),
    minted_at       INTEGER,
    mailed_at       INTEGER,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    UNIQUE (merchant_id, id),
    CHECK ((purpose = 'registration') = (name IS NOT NULL AND password_hash IS NOT NULL))
) STRICT;

CREATE INDEX verifications_by_email ON verifications (merchant_id, email_key, id);
CREATE UNIQUE INDEX verifications_by_token ON verifications (merchant_id, token_hash) WHERE token_hash IS NOT NULL;
CREATE UNIQUE INDEX verifications_by_key ON verifications (merchant_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX verifications_by_expiry ON verifications (expires_at);
