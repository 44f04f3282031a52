-- Since when each attempt at an endpoint has failed, and when and why deliveries disabled it. Written when that changes only,
-- not with each attempt.
--
-- Locks: ACCESS EXCLUSIVE on `webhook_endpoints` for a moment: no column is written to stored rows; the constraints look at
-- them once, 50 a merchant at most.
-- Indexes: none; all are read with the endpoint.
ALTER TABLE webhook_endpoints
    ADD COLUMN failing_since timestamptz,
    ADD COLUMN disabled_at timestamptz,
    ADD COLUMN disabled_reason text,
    ADD COLUMN times_disabled bigint NOT NULL DEFAULT 0 CHECK (times_disabled >= 0),
    ADD CONSTRAINT webhook_endpoints_disabled CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL));
