-- Suspects: jobs that were running whenever their process crashed lately. `lost` counts these crashes since the last
-- run that ended; above a limit `blocked` is 2, so that claims skip the job: it is run alone in its process, by a claim
-- of its own. A row that runs with `blocked` 2 therefore runs alone, and only its crashes count in `alone`, whose limit
-- makes it a dead letter. `process` groups the consumers of one process.
--
-- Indexes, by EXPLAIN QUERY PLAN:
--   suspects  WHERE blocked=2 AND state IN ('ready', 'running')
--             SEARCH jobs USING INDEX jobs_suspects (state=?), named in the statements; empty but after crashes

ALTER TABLE jobs ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN alone INTEGER NOT NULL DEFAULT 0;
ALTER TABLE consumers ADD COLUMN process TEXT NOT NULL DEFAULT '';
CREATE INDEX jobs_suspects ON jobs (state) WHERE blocked = 2;
