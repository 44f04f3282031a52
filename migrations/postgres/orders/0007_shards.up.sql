-- Where a merchant lives, when there are several databases (shards). With one database every merchant is `active` for good
-- and nobody asks.
--
-- `active`: here. `moving`: here, read but not written, while a move compares and hands over. `arriving`: a copy in the
-- making, not to be used. `moved`: no longer here; rows that are left are waiting to be deleted. `moved_to` names the shard
-- a merchant is moving or has moved to.
--
-- Locks: ACCESS EXCLUSIVE on `merchants` for a moment: both columns are added without rewriting the table, whose rows are
-- few. The index is built under a SHARE lock on `outbox` and its partitions, which stops writers for as long as it takes
-- to read them; it holds commands only, so it is small.
-- Indexes: `outbox_commands_by_merchant` for moving a merchant's commands, which `outbox_by_merchant` leaves out. Events
-- are not in it, so placing, paying and shipping orders do not write to it; refunds do, once.
ALTER TABLE merchants
    ADD COLUMN state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'moving', 'arriving', 'moved')),
    ADD COLUMN moved_to text,
    ADD CONSTRAINT merchants_moved_to CHECK ((moved_to IS NULL) = (state IN ('active', 'arriving')));

CREATE INDEX outbox_commands_by_merchant ON outbox (merchant_id, id) WHERE sequence IS NULL;
