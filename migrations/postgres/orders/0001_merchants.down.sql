-- Locks: ACCESS EXCLUSIVE on both tables, for the moment of dropping them.
DROP TABLE api_keys;
DROP TABLE merchants;
