-- Former signing secrets of an endpoint, with which messages are signed as well until their time:
-- `[{"secret": "whsec_…", "until": "…"}]`, 4 at most.
ALTER TABLE webhook_endpoints ADD COLUMN previous_secrets TEXT NOT NULL DEFAULT '[]';
