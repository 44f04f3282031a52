-- Requests to prove a mail address: registrations that wait for their proof, and password resets. Only hashes of
-- passwords and of tokens are kept. `email_key` is the address as it is compared, `email` as it is written to;
-- `token_hash` is empty before the mail is rendered and after the token was used. Rows go when they have expired.
--
-- `customers.idempotency_key` is no longer written: the request that a key repeats is the one for a proof.
--
-- Locks: creates an empty table only; the reference takes SHARE ROW EXCLUSIVE on merchants for that moment.
-- Indexes: the key, for workers, and page by page when a merchant moves; `verifications_by_email` gives those of an
-- address, oldest first; `verifications_by_token` finds a token; `verifications_by_key` decides over a repeated request;
-- `verifications_by_expiry` gives those to drop.
CREATE TABLE verifications (
    merchant_id     uuid NOT NULL REFERENCES merchants (id),
    id              uuid NOT NULL,
    purpose         text NOT NULL CHECK (purpose IN ('registration', 'password_reset')),
    email           text NOT NULL,
    email_key       text COLLATE "C" NOT NULL,
    name            text,
    password_hash   text,
    idempotency_key text COLLATE "C" CHECK (length(idempotency_key) BETWEEN 1 AND 255),
    token_hash      bytea CHECK (length(token_hash) = 32),
    minted_at       timestamptz,
    mailed_at       timestamptz,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, id),
    CHECK ((purpose = 'registration') = (name IS NOT NULL AND password_hash IS NOT NULL))
);

CREATE INDEX verifications_by_email ON verifications (merchant_id, email_key, id);
CREATE UNIQUE INDEX verifications_by_token ON verifications (merchant_id, token_hash) WHERE token_hash IS NOT NULL;
CREATE UNIQUE INDEX verifications_by_key ON verifications (merchant_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX verifications_by_expiry ON verifications (expires_at);
