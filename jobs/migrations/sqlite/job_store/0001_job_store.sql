-- What a broker cannot do for its jobs: schedule, cancel, pause, keep keys unique. Plain jobs never come here.
--
-- `scheduled` holds jobs whose time is farther off than the broker's delay queues reach; the row is the truth until
-- its job was published with a confirm. `claim` is drawn afresh by whoever is about to publish it and is asked for
-- when the row is deleted: a job scheduled anew meanwhile stays. `control` is one row, a counter raised by every
-- change of a pause or a cancel request, so that watching both costs a read of one row.
--
-- Indexes, by EXPLAIN QUERY PLAN:
--   due        WHERE due_at<=? AND claimed_until<? ORDER BY due_at LIMIT ?   SEARCH USING INDEX scheduled_due (due_at<?)
--   per queue  WHERE queue=? (count, purge)                                  SEARCH USING INDEX scheduled_queue
--   by id      the primary keys
--   release    DELETE FROM unique_keys WHERE job=?                           SEARCH USING INDEX unique_keys_job

CREATE TABLE queues (
  name TEXT PRIMARY KEY,
  paused INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE control (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  version INTEGER NOT NULL
) STRICT;
INSERT INTO control VALUES (1, 1);

CREATE TABLE cancel_requests (
  job TEXT PRIMARY KEY,
  reason TEXT NOT NULL,
  requested_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE scheduled (
  id TEXT PRIMARY KEY,
  queue TEXT NOT NULL,
  kind TEXT NOT NULL,
  due_at INTEGER NOT NULL,
  envelope TEXT NOT NULL,
  crashes INTEGER NOT NULL DEFAULT 0,
  last_error TEXT,
  first_failed_at INTEGER,
  claim INTEGER NOT NULL DEFAULT 0,
  claimed_until INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX scheduled_due ON scheduled (due_at);
CREATE INDEX scheduled_queue ON scheduled (queue);

CREATE TABLE unique_keys (
  key TEXT PRIMARY KEY,
  job TEXT NOT NULL,
  queue TEXT NOT NULL,
  reserved_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX unique_keys_job ON unique_keys (job);

CREATE TABLE consumers (
  session TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  queue TEXT NOT NULL,
  running INTEGER NOT NULL,
  reached_at INTEGER,
  noted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
