-- Former signing secrets of an endpoint, with which messages are signed as well until their time:
-- `[{"secret": "whsec_…", "until": "…"}]`, 4 at most.
--
-- Locks: ACCESS EXCLUSIVE on `webhook_endpoints` for a moment: the default is not written to stored rows.
-- Indexes: none; it is read with the endpoint.
ALTER TABLE webhook_endpoints ADD COLUMN previous_secrets json NOT NULL DEFAULT '[]';
