-- Locks: ACCESS EXCLUSIVE on the table for a moment. Revoked keys are deleted: an earlier release would accept them.
DELETE FROM api_keys WHERE revoked_at IS NOT NULL;
DROP INDEX api_keys_by_merchant;
ALTER TABLE api_keys DROP COLUMN revoked_at, DROP COLUMN last_used_at, DROP COLUMN prefix, DROP COLUMN label;
