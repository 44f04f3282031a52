-- What the last run of a job that reported has told: progress, log lines, result. `report` is JSON of the program,
-- `started_at` the start of that run in milliseconds since the Unix epoch, by which a report of an earlier run is
-- refused and old ones expire. A job that reports nothing has no row. A run that reports again changes its row where it
-- lies, as no indexed column changes and pages have room.
--
-- Indexes, proven by a test that plans each statement over a large table:
--   by job     job=ANY($)                               run_reports_pkey
--   expiry     started_at<$ ORDER BY started_at LIMIT $ run_reports_age
--
-- Locks: creates only; nothing waits.

CREATE TABLE jobs.run_reports (
  job uuid PRIMARY KEY,
  started_at bigint NOT NULL,
  report text NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX run_reports_age ON jobs.run_reports (started_at);
