-- Locks: ACCESS EXCLUSIVE on the table for a moment. Sale modes are gone, and the places of shoppers who wait are void.
DROP TABLE waiting_rooms;
