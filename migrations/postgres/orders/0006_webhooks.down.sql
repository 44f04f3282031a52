-- Locks: ACCESS EXCLUSIVE on the tables and all partitions, for the moment of dropping them.
DROP TABLE webhook_attempts;
DROP TABLE webhook_endpoints;
