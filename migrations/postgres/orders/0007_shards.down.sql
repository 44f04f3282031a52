-- Locks: ACCESS EXCLUSIVE on `merchants` and on `outbox` with its partitions, for a moment. Only for a database that is no
-- shard: afterwards merchants that are `arriving` or `moved` look as if they lived here.
DROP INDEX outbox_commands_by_merchant;
ALTER TABLE merchants DROP COLUMN moved_to, DROP COLUMN state;
