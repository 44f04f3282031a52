-- Back to keys that are held while their jobs wait or run. Keys of dead jobs and of periods are free.
--
-- Locks: ACCESS EXCLUSIVE on a small table, for a change of the catalog; no table is rewritten.

DELETE FROM jobs.unique_keys WHERE held_as <> 'active';
ALTER TABLE jobs.unique_keys DROP COLUMN held_as, DROP COLUMN kept, DROP COLUMN period_end;
