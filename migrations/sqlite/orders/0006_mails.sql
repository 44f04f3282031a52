-- Which mails were sent: one per order and template.
--
-- EXPLAIN QUERY PLAN
--   of an order: SEARCH mails USING PRIMARY KEY (order_id=?)
CREATE TABLE mails (
    order_id   TEXT NOT NULL REFERENCES orders (id),
    template   TEXT NOT NULL,
    message_id TEXT NOT NULL,
    sent_at    INTEGER NOT NULL,
    PRIMARY KEY (order_id, template)
) STRICT, WITHOUT ROWID;
