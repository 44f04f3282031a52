-- Locks: ACCESS EXCLUSIVE on the table for a moment. The records of erasures are gone; what was erased stays so.
DROP TABLE customer_erasures;
