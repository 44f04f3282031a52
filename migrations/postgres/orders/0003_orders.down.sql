-- Locks: ACCESS EXCLUSIVE on the tables and all their partitions, for the moment of dropping them.
DROP TABLE mails;
DROP TABLE refunds;
DROP TABLE orders;
