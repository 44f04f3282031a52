//! The tables with rows of a merchant: the one list by which rows are copied, compared and deleted.
//!
//! A table that is added to the schema and has a merchant's rows gets an entry here, after the tables it refers to.
//! Columns are read from the database and need no entry.

/// A table, or a part of one that is copied separately.
pub(super) struct Table {
    /// The name in reports.
    pub(super) label: &'static str,
    pub(super) name: &'static str,
    /// The `FROM` clause where it has more than the table, which is `t`.
    pub(super) from: Option<&'static str>,
    /// The condition for the owner's rows; `$1` is the owner.
    pub(super) owned: &'static str,
    pub(super) owner: Owner,
    /// The columns by which an owner's rows are paged and compared; an index has them in this order.
    pub(super) key: &'static [Column],
    /// The columns of a unique index.
    pub(super) identity: &'static [Column],
    /// The first column of the key in the table joined by `from`, so that both sides of the join are bounded.
    pub(super) joined: Option<&'static str>,
    /// Columns that are generated in the target instead of copied, with their expressions.
    pub(super) made: &'static [(&'static str, &'static str)],
    /// Tables whose rows are found through this one and deleted with it, with the column that refers to `identity`.
    pub(super) dependents: &'static [(&'static str, &'static str)],
}

/// A column and its type.
#[derive(Clone, Copy)]
pub(super) struct Column(pub(super) &'static str, pub(super) &'static str);

/// The meaning of `$1`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Merchant,
    /// Each endpoint of the merchant, including deleted ones.
    Endpoint,
}

/// A table whose rows name their merchant.
const fn of_merchant(name: &'static str, key: &'static [Column], identity: &'static [Column]) -> Table {
    Table {
        label: name,
        name,
        from: None,
        owned: "t.merchant_id = $1",
        owner: Owner::Merchant,
        key,
        identity,
        joined: None,
        made: &[],
        dependents: &[],
    }
}

const ID: &[Column] = &[Column("id", "uuid")];
const OF_MERCHANT: &[Column] = &[Column("merchant_id", "uuid")];
const OF_ORDER: &str = "o.merchant_id = $1";
/// A message gets a new position in the target, in the order of the source.
const PLACED: &[(&str, &str)] = &[("position", "nextval('outbox_position')")];

/// In the order in which rows may be inserted; they are deleted in reverse order.
pub(super) const TABLES: &[Table] = &[
    Table {
        owned: "t.id = $1",
        made: &[("state", "'arriving'"), ("moved_to", "NULL")],
        ..of_merchant("merchants", ID, ID)
    },
    of_merchant("api_keys", &[Column("hash", "bytea")], &[Column("hash", "bytea")]),
    of_merchant("waiting_rooms", OF_MERCHANT, OF_MERCHANT),
    of_merchant(
        "products",
        &[Column("sku", "text")],
        &[Column("merchant_id", "uuid"), Column("sku", "text")],
    ),
    of_merchant("product_words", WORD, WORD_OF_MERCHANT),
    of_merchant("cart_reservations", CART, &[Column("merchant_id", "uuid"), Column("cart_id", "uuid")]),
    Table { dependents: &[("customer_mails", "customer_id")], ..of_merchant("customers", ID, ID) },
    Table {
        from: Some("customer_mails AS t JOIN customers AS c ON c.id = t.customer_id"),
        owned: "c.merchant_id = $1",
        joined: Some("c.id"),
        ..of_merchant("customer_mails", CUSTOMER_MAIL, CUSTOMER_MAIL)
    },
    of_merchant("customer_erasures", ERASED, &[Column("merchant_id", "uuid"), Column("customer_id", "uuid")]),
    of_merchant("verifications", ID, &[Column("merchant_id", "uuid"), Column("id", "uuid")]),
    Table { dependents: &[("refunds", "order_id"), ("mails", "order_id")], ..of_merchant("orders", ID, ID) },
    Table {
        from: Some("refunds AS t JOIN orders AS o ON o.id = t.order_id"),
        owned: OF_ORDER,
        joined: Some("o.id"),
        ..of_merchant("refunds", REFUND, REFUND)
    },
    Table {
        from: Some("mails AS t JOIN orders AS o ON o.id = t.order_id"),
        owned: OF_ORDER,
        joined: Some("o.id"),
        ..of_merchant("mails", MAIL, MAIL)
    },
    of_merchant(
        "idempotency_keys",
        &[Column("key", "text")],
        &[Column("merchant_id", "uuid"), Column("key", "text")],
    ),
    Table {
        label: EVENTS,
        owned: "t.merchant_id = $1 AND t.sequence IS NOT NULL",
        made: PLACED,
        ..of_merchant("outbox", &[Column("position", "bigint")], ID)
    },
    Table {
        label: "commands",
        owned: "t.merchant_id = $1 AND t.sequence IS NULL",
        made: PLACED,
        ..of_merchant("outbox", ID, ID)
    },
    of_merchant("webhook_endpoints", ID, &[Column("merchant_id", "uuid"), Column("id", "uuid")]),
    Table {
        owned: "t.endpoint_id = $1",
        owner: Owner::Endpoint,
        ..of_merchant("webhook_attempts", ATTEMPT_KEY, ATTEMPT)
    },
];

const CART: &[Column] = &[Column("cart_id", "uuid")];
const ERASED: &[Column] = &[Column("customer_id", "uuid")];
const WORD: &[Column] = &[Column("word", "text"), Column("sku", "text")];
const WORD_OF_MERCHANT: &[Column] =
    &[Column("merchant_id", "uuid"), Column("word", "text"), Column("sku", "text")];
const REFUND: &[Column] = &[Column("order_id", "uuid"), Column("id", "uuid")];
const MAIL: &[Column] = &[Column("order_id", "uuid"), Column("template", "text")];
const CUSTOMER_MAIL: &[Column] = &[Column("customer_id", "uuid"), Column("template", "text")];
const ATTEMPT: &[Column] = &[
    Column("endpoint_id", "uuid"),
    Column("event_id", "uuid"),
    Column("attempt", "bigint"),
    Column("at", "timestamptz"),
];
const ATTEMPT_KEY: &[Column] =
    &[Column("event_id", "uuid"), Column("attempt", "bigint"), Column("at", "timestamptz")];
/// The label of the table whose rows keep an order of their own.
const EVENTS: &str = "events";

impl Table {
    /// Whether rows keep their order, but not their keys.
    pub(super) fn is_log(&self) -> bool {
        self.label == EVENTS
    }

    pub(super) fn is_made(&self, column: &str) -> bool {
        self.made.iter().any(|(made, _)| *made == column)
    }
}

/// The endpoints of a merchant with delivery attempts, by an index skip scan over all endpoints in the log. The rows of
/// deleted endpoints are gone, so their merchant is taken from the events and orders of their attempts.
pub(super) const ENDPOINTS: &str = "
    WITH RECURSIVE known AS (
        (SELECT endpoint_id FROM webhook_attempts ORDER BY endpoint_id LIMIT 1)
        UNION ALL
        SELECT (SELECT a.endpoint_id FROM webhook_attempts AS a WHERE a.endpoint_id > k.endpoint_id
                ORDER BY a.endpoint_id LIMIT 1)
        FROM known AS k WHERE k.endpoint_id IS NOT NULL)
    SELECT k.endpoint_id FROM known AS k WHERE k.endpoint_id IS NOT NULL AND coalesce(
        (SELECT merchant_id FROM webhook_endpoints WHERE id = k.endpoint_id),
        (SELECT coalesce(e.merchant_id, o.merchant_id) FROM webhook_attempts AS a
            LEFT JOIN outbox AS e ON e.id = a.event_id LEFT JOIN orders AS o ON o.id = a.order_id
            WHERE a.endpoint_id = k.endpoint_id AND coalesce(e.merchant_id, o.merchant_id) IS NOT NULL LIMIT 1)
        ) = $1";
