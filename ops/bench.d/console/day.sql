-- The attempts of one day, in a partition of the log as the product makes it. A partition that is new is attached when
-- it is full: its indexes are then built at once.
--
-- Variables: partition, first and last (of all attempts, in order), day_from and day_to (milliseconds), filled_to (the
-- end of the day, or now).
\set ON_ERROR_STOP on
SET synchronous_commit = off;
SELECT to_regclass(:'partition') IS NULL AS is_new \gset

\if :is_new
CREATE TABLE :partition (LIKE jobs.attempts INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
\endif

-- Of a hundred attempts five are retried, two wait for a slot and one is the last of a dead job.
INSERT INTO :partition (job, attempt, started_at, kind, queue, subject, worker, created_at, duration_ns, outcome, error,
    trace)
  SELECT id, 1 + n % 3, at, kind, bench.queue(kind), subject, 'worker-' || n % 12, at - 40 - n % 700,
    3000000 + n % 1000 * 250000, outcome, CASE WHEN outcome <> 'completed' THEN bench.error(n) END,
    CASE WHEN n % 10 = 0 THEN '00-' || md5('trace ' || n) || '-' || substr(md5('span ' || n), 1, 16) || '-01' END
  FROM bench.jobs('attempt', :first, :last,
      :day_from - (:first * (:filled_to - :day_from) / (:last - :first + 1.0))::bigint,
      (:filled_to - :day_from) / (:last - :first + 1.0)) AS made,
    LATERAL (SELECT CASE WHEN n % 100 < 92 THEN 'completed' WHEN n % 100 < 97 THEN 'retried'
      WHEN n % 100 < 99 THEN 'snoozed' ELSE 'dead' END AS outcome) AS ended;

\if :is_new
ALTER TABLE jobs.attempts ATTACH PARTITION :partition FOR VALUES FROM (:day_from) TO (:day_to);
\endif
