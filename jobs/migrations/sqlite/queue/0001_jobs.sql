-- The queue: jobs, the leases of those who run them, and the declared queues.
--
-- One row per job over all its attempts; it is deleted when the job ended well, so the table is as large as
-- the backlog. `sequence` is the order of publishing; `fence` is drawn afresh by each claim from one counter,
-- so (sequence, fence) names one delivery for ever. Leases stand in `consumers`, one row each: renewing all of
-- a consumer's jobs then writes one row instead of hundreds. `blocked` says that a ready job was seen to wait
-- for another one with its concurrency key: claims skip it, and the triggers below wake one job per queue when
-- the key may be free. Triggers, because no statement that ends a run can forget them. `priority` and `payload`
-- carry no CHECK: a row that cannot be read is to be parked and shown, not to refuse an import.
--
-- Indexes, by EXPLAIN QUERY PLAN:
--   claim     WHERE queue=? AND state='ready' AND blocked=0 ORDER BY priority, sequence LIMIT ?
--             SEARCH jobs USING INDEX jobs_ready (queue=? AND blocked=?), no sort
--   due       WHERE queue=? AND state='delayed' AND run_at<=? ORDER BY run_at LIMIT ?
--             SEARCH jobs USING INDEX jobs_delayed (queue=? AND run_at<?)
--   give back WHERE state='running' AND queue=? AND consumer=?
--             SEARCH jobs USING INDEX jobs_running (queue=? AND consumer=?)
--   dead      WHERE state='dead' AND queue=? ORDER BY id LIMIT ?
--             SEARCH jobs USING INDEX jobs_dead (queue=?), no sort
--   cancels   WHERE consumer=? AND cancel_requested IS NOT NULL
--             SEARCH jobs USING INDEX jobs_cancelling (consumer=?)
--   unique    WHERE unique_key IN (...) AND state<>'dead'
--             SEARCH jobs USING INDEX jobs_unique (unique_key=?)
--   keys      WHERE state='running' AND concurrency_key IN (...)
--             SEARCH jobs USING INDEX jobs_keys_running (concurrency_key=?)
--   unblock   SEARCH jobs USING INDEX jobs_keys_blocked (concurrency_key=? AND queue=?), named in the triggers
--             because the planner, without statistics, prefers jobs_ready and walks the backlog
-- Settling addresses rows by `sequence`, the rowid.

CREATE TABLE queues (
  name TEXT PRIMARY KEY,
  paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE consumers (
  session INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  queue TEXT NOT NULL,
  lease_until INTEGER NOT NULL
) STRICT;

CREATE TABLE fence (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  value INTEGER NOT NULL
) STRICT;
INSERT INTO fence VALUES (1, 0);

CREATE TABLE jobs (
  sequence INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  queue TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('ready', 'delayed', 'running', 'dead')),
  blocked INTEGER NOT NULL DEFAULT 0,
  priority INTEGER NOT NULL,
  kind TEXT NOT NULL,
  version INTEGER NOT NULL,
  attempt INTEGER NOT NULL DEFAULT 0,
  max_attempts INTEGER NOT NULL,
  crashes INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  run_at INTEGER,
  ready_at INTEGER NOT NULL,
  trace TEXT,
  unique_key TEXT,
  concurrency_key TEXT,
  subject TEXT,
  payload TEXT NOT NULL,
  fence INTEGER NOT NULL DEFAULT 0,
  consumer INTEGER,
  cancel_requested TEXT,
  last_error TEXT,
  dead_reason TEXT,
  first_failed_at INTEGER,
  died_at INTEGER
) STRICT;

CREATE INDEX jobs_ready ON jobs (queue, blocked, priority) WHERE state = 'ready';
CREATE INDEX jobs_delayed ON jobs (queue, run_at) WHERE state = 'delayed';
CREATE INDEX jobs_running ON jobs (queue, consumer) WHERE state = 'running';
CREATE INDEX jobs_dead ON jobs (queue, id) WHERE state = 'dead';
CREATE INDEX jobs_cancelling ON jobs (consumer) WHERE cancel_requested IS NOT NULL;
CREATE UNIQUE INDEX jobs_unique ON jobs (unique_key) WHERE unique_key IS NOT NULL AND state <> 'dead';
CREATE INDEX jobs_keys_running ON jobs (concurrency_key) WHERE concurrency_key IS NOT NULL AND state = 'running';
CREATE INDEX jobs_keys_blocked ON jobs (concurrency_key, queue, priority)
  WHERE concurrency_key IS NOT NULL AND state = 'ready' AND blocked = 1;

CREATE TRIGGER jobs_unblock_on_delete AFTER DELETE ON jobs
WHEN OLD.concurrency_key IS NOT NULL AND OLD.state IN ('ready', 'running')
BEGIN
  UPDATE jobs SET blocked = 0 WHERE sequence IN (
    SELECT (SELECT sequence FROM jobs INDEXED BY jobs_keys_blocked
            WHERE concurrency_key = OLD.concurrency_key AND queue = q.name AND state = 'ready' AND blocked = 1
            ORDER BY priority, sequence LIMIT 1)
    FROM queues AS q);
END;

CREATE TRIGGER jobs_unblock_on_leave AFTER UPDATE OF state ON jobs
WHEN OLD.concurrency_key IS NOT NULL AND OLD.state IN ('ready', 'running') AND NEW.state <> 'running'
BEGIN
  UPDATE jobs SET blocked = 0 WHERE sequence IN (
    SELECT (SELECT sequence FROM jobs INDEXED BY jobs_keys_blocked
            WHERE concurrency_key = OLD.concurrency_key AND queue = q.name AND state = 'ready' AND blocked = 1
            ORDER BY priority, sequence LIMIT 1)
    FROM queues AS q);
END;
