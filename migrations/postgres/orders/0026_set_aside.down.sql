-- Drops what 0026 made; no message changes, and none is taken earlier.
--
-- Locks: ACCESS EXCLUSIVE on `outbox_unsent` for a moment.
DROP INDEX outbox_unsent_set_aside;
ALTER TABLE outbox_unsent DROP COLUMN set_aside;
