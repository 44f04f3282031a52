-- Locks: ACCESS EXCLUSIVE on the tables, for the moment of dropping them. Accounts are lost.
DROP TABLE customer_mails;
DROP TABLE customers;
