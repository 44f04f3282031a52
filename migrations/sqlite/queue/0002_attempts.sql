-- The log of attempts: telemetry, one row per finished attempt. Durations in nanoseconds, times in milliseconds.
--
-- Indexes, by EXPLAIN QUERY PLAN:
--   by job     WHERE job=?                                      the UNIQUE constraint's own index
--   by subject WHERE subject=? AND started_at<? ORDER BY started_at DESC
--              SEARCH attempts USING INDEX attempts_subject (subject=? AND started_at<?), no sort
--   newest, and expiry by age                                   SEARCH attempts USING INDEX attempts_started
-- A queue, kind or outcome filters along attempts_started: an index for each would cost every write.

CREATE TABLE attempts (
  job TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  queue TEXT NOT NULL,
  subject TEXT,
  worker TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  duration_ns INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  error TEXT,
  trace TEXT,
  UNIQUE (job, attempt, started_at)
) STRICT;

CREATE INDEX attempts_started ON attempts (started_at);
CREATE INDEX attempts_subject ON attempts (subject, started_at) WHERE subject IS NOT NULL;
