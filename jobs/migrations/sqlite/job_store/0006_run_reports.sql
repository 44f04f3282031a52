-- What the last run of a job that reported has told: progress, log lines, result. `report` is JSON of the program,
-- `started_at` the start of that run in milliseconds since the Unix epoch, by which a report of an earlier run is
-- refused and old ones expire. A job that reports nothing has no row.
--
-- Indexes, by EXPLAIN QUERY PLAN:
--   by job  WHERE job IN (SELECT value FROM json_each(?))   SEARCH USING INDEX sqlite_autoindex_run_reports_1 (job=?)
--   expiry  WHERE started_at<? ORDER BY started_at LIMIT ?  SEARCH USING INDEX run_reports_age (started_at<?)

CREATE TABLE run_reports (
  job TEXT PRIMARY KEY,
  started_at INTEGER NOT NULL,
  report TEXT NOT NULL
) STRICT;
CREATE INDEX run_reports_age ON run_reports (started_at);
