-- Locks: ACCESS EXCLUSIVE on the table for a moment. Endpoints that were disabled stay so; why is lost.
ALTER TABLE webhook_endpoints
    DROP CONSTRAINT webhook_endpoints_disabled, DROP COLUMN times_disabled, DROP COLUMN disabled_reason,
    DROP COLUMN disabled_at, DROP COLUMN failing_since;
