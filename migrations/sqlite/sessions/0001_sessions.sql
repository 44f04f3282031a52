-- Sign-in sessions and carts. A row is there until it is swept, and counts until `ends_at`.
--
-- EXPLAIN QUERY PLAN
--   by key: SEARCH sessions USING PRIMARY KEY (key=?)
--   expiry: SEARCH sessions USING COVERING INDEX sessions_by_end (ends_at<?)
CREATE TABLE sessions (
    key     TEXT PRIMARY KEY,
    data    BLOB NOT NULL,
    version INTEGER NOT NULL,
    ends_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_end ON sessions (ends_at);
