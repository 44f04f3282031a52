-- Locks: ACCESS EXCLUSIVE on the table, for the moment of dropping it. Registrations without proof and resets are lost.
DROP TABLE verifications;
