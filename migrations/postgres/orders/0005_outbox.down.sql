-- Locks: ACCESS EXCLUSIVE on the tables and all partitions, for the moment of dropping them. Messages not yet sent are
-- lost.
DROP TABLE outbox_unsent;
DROP TABLE outbox;
DROP SEQUENCE outbox_position;
