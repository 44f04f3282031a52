-- Since when each attempt at an endpoint has failed, and when and why deliveries disabled it. Written when that changes only,
-- not with each attempt.
ALTER TABLE webhook_endpoints ADD COLUMN failing_since INTEGER;
ALTER TABLE webhook_endpoints ADD COLUMN disabled_at INTEGER;
ALTER TABLE webhook_endpoints ADD COLUMN disabled_reason TEXT CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL));
ALTER TABLE webhook_endpoints ADD COLUMN times_disabled INTEGER NOT NULL DEFAULT 0 CHECK (times_disabled >= 0);
