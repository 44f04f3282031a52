-- How long a job holds its unique key: in which states, and for which period after publishing (milliseconds). Both are
-- NULL for the default, as in every row of an earlier release. A key that is held while its job waits is free for good
-- once a claim has drawn a `fence`; a redrive sets it back to 0. Periods have rows of their own, as they outlast the
-- jobs; a publish with a period deletes some of those that have ended.
--
-- Indexes, by EXPLAIN QUERY PLAN:
--   holder    WHERE unique_key IN (...) AND CASE unique_states ... END
--             SEARCH jobs USING INDEX jobs_unique (unique_key=?)
--   period    WHERE key IN (...) AND ends_at>?
--             SEARCH unique_periods USING PRIMARY KEY (key=?)
--   expiry    WHERE ends_at<=? ORDER BY ends_at LIMIT ?
--             SEARCH unique_periods USING COVERING INDEX unique_periods_end (ends_at<?), no sort

ALTER TABLE jobs ADD COLUMN unique_states TEXT;
ALTER TABLE jobs ADD COLUMN unique_period INTEGER;

DROP INDEX jobs_unique;
CREATE UNIQUE INDEX jobs_unique ON jobs (unique_key) WHERE unique_key IS NOT NULL
  AND CASE unique_states WHEN 'waiting' THEN fence = 0 AND state <> 'dead' WHEN 'kept' THEN 1 ELSE state <> 'dead' END;

CREATE TABLE unique_periods (
  key TEXT PRIMARY KEY,
  job TEXT NOT NULL,
  ends_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX unique_periods_end ON unique_periods (ends_at);
