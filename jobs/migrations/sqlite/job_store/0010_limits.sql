-- Limits per key: the slots that worker processes lease, the blocks of starts that they were granted, and the jobs that
-- wait for either. All times are in milliseconds since the Unix epoch, by the clock of the machine. `counts_until` is
-- the end of a block plus the period of its limit: until then its starts count. `ends_at` of a parked job is the end of
-- its snooze, after which it comes by itself and its row says nothing.
--
-- Indexes, by EXPLAIN QUERY PLAN:
--   by key   WHERE limit_name=? AND limit_key=?                        SEARCH USING PRIMARY KEY, of leases and of blocks
--   next     the same ORDER BY parked_at, job LIMIT ?                  SEARCH USING INDEX limit_parked_line
--   expiry   WHERE counts_until<=? LIMIT ?, WHERE ends_at<=? LIMIT ?   limit_blocks_expiry, limit_parked_expiry
-- Ended leases have no index: a row for each key in use and process is read whole once a minute.

CREATE TABLE limit_leases (
  limit_name TEXT NOT NULL,
  limit_key TEXT NOT NULL,
  holder TEXT NOT NULL,
  slots INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (limit_name, limit_key, holder)
) STRICT, WITHOUT ROWID;

CREATE TABLE limit_blocks (
  limit_name TEXT NOT NULL,
  limit_key TEXT NOT NULL,
  id INTEGER NOT NULL,
  starts INTEGER NOT NULL,
  granted_at INTEGER NOT NULL,
  ends_at INTEGER NOT NULL,
  counts_until INTEGER NOT NULL,
  PRIMARY KEY (limit_name, limit_key, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX limit_blocks_expiry ON limit_blocks (counts_until);

CREATE TABLE limit_parked (
  job TEXT PRIMARY KEY,
  limit_name TEXT NOT NULL,
  limit_key TEXT NOT NULL,
  parked_at INTEGER NOT NULL,
  ends_at INTEGER NOT NULL
) STRICT;
CREATE INDEX limit_parked_line ON limit_parked (limit_name, limit_key, parked_at, job);
CREATE INDEX limit_parked_expiry ON limit_parked (ends_at);
