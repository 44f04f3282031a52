-- The log of attempts: telemetry, one row per finished attempt. Durations in nanoseconds, times in milliseconds; a job by
-- the 16 bytes of its id. At full speed every byte and every tree costs the worker: rows lie in the order they are
-- written, newest last, and the key that makes a repeated batch harmless is that order.
--
-- Indexes, by EXPLAIN QUERY PLAN:
--   newest, and expiry by age   SEARCH attempts USING PRIMARY KEY (started_at<?), no sort
--   by job     WHERE job=?      SEARCH attempts USING INDEX attempts_job (job=? AND started_at<?), no sort
--   by subject WHERE subject=? AND started_at<? ORDER BY started_at DESC
--              SEARCH attempts USING INDEX attempts_subject (subject=? AND started_at<?), no sort
-- A queue, kind or outcome filters along the primary key: an index for each would cost every write.

CREATE TABLE attempts (
  started_at INTEGER NOT NULL,
  job BLOB NOT NULL,
  attempt INTEGER NOT NULL,
  kind TEXT NOT NULL,
  queue TEXT NOT NULL,
  subject TEXT,
  worker TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  duration_ns INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  error TEXT,
  trace TEXT,
  PRIMARY KEY (started_at, job, attempt)
) STRICT, WITHOUT ROWID;

CREATE INDEX attempts_job ON attempts (job, started_at);
CREATE INDEX attempts_subject ON attempts (subject, started_at) WHERE subject IS NOT NULL;
