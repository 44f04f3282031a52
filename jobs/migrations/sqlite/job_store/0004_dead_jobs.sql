-- Dead jobs of a broker's queues, with reason, error and dates, and all that is needed to run them again. A message
-- that could not be decoded is kept as it came, as `properties` (JSON) and `body`; its envelope is a substitute. `claim`
-- is drawn afresh by whoever is about to publish a job again and is asked for when the row is deleted: a job that has
-- died again meanwhile has replaced the row, and the claim with it, and stays.
--
-- Indexes, by EXPLAIN QUERY PLAN:
--   listing    WHERE id>? ORDER BY id LIMIT ?             SEARCH USING INDEX sqlite_autoindex_dead_jobs_1 (id>?)
--   per queue  WHERE queue=? AND id>? ORDER BY id; count  SEARCH USING INDEX dead_jobs_queue (queue=? AND id>?)
--   expiry     WHERE died_at<? ORDER BY died_at LIMIT ?   SEARCH USING INDEX dead_jobs_age (died_at<?)

CREATE TABLE dead_jobs (
  id TEXT PRIMARY KEY,
  queue TEXT NOT NULL,
  kind TEXT NOT NULL,
  reason TEXT NOT NULL,
  died_at INTEGER NOT NULL,
  first_failed_at INTEGER NOT NULL,
  crashes INTEGER NOT NULL,
  last_error TEXT,
  envelope TEXT NOT NULL,
  properties TEXT,
  body BLOB,
  claim INTEGER NOT NULL DEFAULT 0,
  claimed_until INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX dead_jobs_queue ON dead_jobs (queue, id);
CREATE INDEX dead_jobs_age ON dead_jobs (died_at);
