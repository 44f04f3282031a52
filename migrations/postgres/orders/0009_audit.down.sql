DROP TABLE audit_mark;
ALTER TABLE webhook_endpoints DROP COLUMN changed_at;
DROP INDEX outbox_commands;
DROP INDEX orders_open;
