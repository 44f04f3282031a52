-- Limits per key: the slots that worker processes lease, the blocks of starts that they were granted, and the jobs that
-- wait for either. All times are the server's, in milliseconds since the Unix epoch, so that clocks of processes do not
-- count. `counts_until` is the end of a block plus the period of its limit: until then its starts count. `ends_at` of a
-- parked job is the end of its snooze, after which it comes by itself and its row says nothing. Names and keys sort by
-- bytes. Writers of one key take turns by an advisory lock, which leaves no row of a key behind.
--
-- Indexes, proven by a test that plans each statement over a large table:
--   by key      limit_name=$ AND limit_key=$                           limit_leases_pkey, limit_blocks_pkey
--   next        the same, ORDER BY parked_at, job LIMIT $              limit_parked_line
--   expiry      counts_until<=$ ORDER BY counts_until LIMIT $          limit_blocks_expiry
--   expiry      ends_at<=$ ORDER BY ends_at LIMIT $                    limit_parked_expiry
-- Ended leases have no index: a row for each key in use and process is read whole once a minute, and a renewal changes
-- its row where it lies, as no indexed column changes and pages have room.
--
-- Locks: creates only; nothing waits.

CREATE TABLE jobs.limit_leases (
  limit_name text COLLATE "C" NOT NULL,
  limit_key text COLLATE "C" NOT NULL,
  holder text COLLATE "C" NOT NULL,
  slots bigint NOT NULL,
  expires_at bigint NOT NULL,
  PRIMARY KEY (limit_name, limit_key, holder)
) WITH (fillfactor = 50);

CREATE TABLE jobs.limit_blocks (
  limit_name text COLLATE "C" NOT NULL,
  limit_key text COLLATE "C" NOT NULL,
  id bigint NOT NULL,
  starts bigint NOT NULL,
  granted_at bigint NOT NULL,
  ends_at bigint NOT NULL,
  counts_until bigint NOT NULL,
  PRIMARY KEY (limit_name, limit_key, id)
);
CREATE INDEX limit_blocks_expiry ON jobs.limit_blocks (counts_until);

CREATE TABLE jobs.limit_parked (
  job uuid PRIMARY KEY,
  limit_name text COLLATE "C" NOT NULL,
  limit_key text COLLATE "C" NOT NULL,
  parked_at bigint NOT NULL,
  ends_at bigint NOT NULL
);
CREATE INDEX limit_parked_line ON jobs.limit_parked (limit_name, limit_key, parked_at, job);
CREATE INDEX limit_parked_expiry ON jobs.limit_parked (ends_at);
