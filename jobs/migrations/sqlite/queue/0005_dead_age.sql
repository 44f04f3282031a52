-- Dead jobs by the time of their death: for their retention, and for dropping those that died first.
--
-- Indexes, by EXPLAIN QUERY PLAN:
--   expiry    WHERE state='dead' AND died_at<? ORDER BY died_at LIMIT ?
--             SEARCH jobs USING INDEX jobs_dead_age (died_at<?), no sort

CREATE INDEX jobs_dead_age ON jobs (died_at) WHERE state = 'dead';
