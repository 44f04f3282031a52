-- Dead jobs of a broker's queues, with reason, error and dates, and all that is needed to run them again. A message
-- that could not be decoded is kept as it came, as `properties` (JSON) and `body`; its envelope is a substitute. `claim`
-- is drawn afresh by whoever is about to publish a job again and is asked for when the row is deleted: a job that has
-- died again meanwhile has replaced the row, and the claim with it, and stays. Times are milliseconds since the Unix
-- epoch.
--
-- Indexes, proven by a test that plans each statement over a large table:
--   listing    id>$ ORDER BY id LIMIT $                                   dead_jobs_pkey; the rest is filtered along it
--   per queue  queue=$ AND id>$ ORDER BY id LIMIT $; count                dead_jobs_queue
--   expiry     died_at<$ ORDER BY died_at LIMIT $                         dead_jobs_age
--
-- Locks: creates only; nothing waits.

CREATE TABLE jobs.dead_jobs (
  id uuid PRIMARY KEY,
  queue text NOT NULL,
  kind text NOT NULL,
  reason text NOT NULL,
  died_at bigint NOT NULL,
  first_failed_at bigint NOT NULL,
  crashes bigint NOT NULL,
  last_error text,
  envelope text NOT NULL,
  properties text,
  body bytea,
  claim bigint NOT NULL DEFAULT 0,
  claimed_until bigint NOT NULL DEFAULT 0
);
CREATE INDEX dead_jobs_queue ON jobs.dead_jobs (queue, id);
CREATE INDEX dead_jobs_age ON jobs.dead_jobs (died_at);
