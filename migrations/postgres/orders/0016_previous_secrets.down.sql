-- Locks: ACCESS EXCLUSIVE on the table for a moment. Receivers that still verify with a former secret reject messages.
ALTER TABLE webhook_endpoints DROP COLUMN previous_secrets;
