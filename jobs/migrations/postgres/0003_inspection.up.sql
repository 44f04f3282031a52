-- What a broker cannot tell of its jobs: those that consumers of other processes hold (JSON, without payloads), and a
-- time that the ready jobs of a queue are not older than, known also while no consumer lives.
--
-- Locks: ACCESS EXCLUSIVE on two small tables, for a change of the catalog; no table is rewritten.

ALTER TABLE jobs.consumers ADD COLUMN jobs text NOT NULL DEFAULT '[]';
ALTER TABLE jobs.queues ADD COLUMN reached_at bigint;
