-- Drops what 0004 added: reservations of jobs that were never published are kept for ever.
--
-- Locks: ACCESS EXCLUSIVE on a small table, for a change of the catalog.

DROP INDEX jobs.unique_keys_expiry;
ALTER TABLE jobs.unique_keys DROP COLUMN expires_at;
