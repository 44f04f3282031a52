-- Locks: ACCESS EXCLUSIVE on `outbox` for a moment.
DROP INDEX outbox_ended;
