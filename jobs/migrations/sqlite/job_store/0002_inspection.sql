-- What a broker cannot tell of its jobs: those that consumers of other processes hold (JSON, without payloads), and a
-- time that the ready jobs of a queue are not older than, known also while no consumer lives.

ALTER TABLE consumers ADD COLUMN jobs TEXT NOT NULL DEFAULT '[]';
ALTER TABLE queues ADD COLUMN reached_at INTEGER;
