-- The log of attempts: telemetry, one row per finished attempt. Durations in nanoseconds, times in milliseconds.
--
-- Partitioned by the day of `started_at` (UTC): expiry drops whole days, which costs the same for any number of rows
-- and leaves no dead ones behind. The partitions `jobs.attempts_<day>` are made and dropped by the record store, ahead
-- of time; a DEFAULT partition would have to be searched whenever one is added.
--
-- Indexes, inherited by each partition and proven by a test that plans each listing over a large table:
--   by job      job=$, also keeps an attempt from being recorded twice    attempts_pkey
--   newest      started_at<$ ORDER BY started_at DESC, attempt DESC       attempts_started, in its order
--   by subject, queue, kind, the same with an equality before it          attempts_subject, attempts_queue, attempts_kind
--   failures    outcome='dead', one index per such outcome's rows         attempts_failures; completed ones are most rows
-- Writes are batches off the path of any job, so they can afford these.
--
-- Locks: creates only; nothing waits.

CREATE TABLE jobs.attempts (
  job uuid NOT NULL,
  attempt bigint NOT NULL,
  started_at bigint NOT NULL,
  kind text NOT NULL,
  queue text NOT NULL,
  subject text,
  worker text NOT NULL,
  created_at bigint NOT NULL,
  duration_ns bigint NOT NULL,
  outcome text NOT NULL,
  error text,
  trace text,
  PRIMARY KEY (job, attempt, started_at)
) PARTITION BY RANGE (started_at);

CREATE INDEX attempts_started ON jobs.attempts (started_at, attempt);
CREATE INDEX attempts_subject ON jobs.attempts (subject, started_at, attempt) WHERE subject IS NOT NULL;
CREATE INDEX attempts_queue ON jobs.attempts (queue, started_at, attempt);
CREATE INDEX attempts_kind ON jobs.attempts (kind, started_at, attempt);
CREATE INDEX attempts_failures ON jobs.attempts (outcome, started_at, attempt) WHERE outcome <> 'completed';
