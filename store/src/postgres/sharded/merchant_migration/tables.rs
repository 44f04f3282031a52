//! Every table with rows of a merchant: the one list that copying, comparing and clearing go by.
//!
//! A table that is added to the schema and holds a merchant's rows gets its line here, after those it refers to. Columns
//! are read from the database and need none.

/// A table, or a part of one that is moved by itself.
pub(super) struct Table {
    /// How reports name it.
    pub(super) label: &'static str,
    pub(super) name: &'static str,
    /// `FROM` this, where it is more than the table; that is `t`.
    pub(super) from: Option<&'static str>,
    /// Whose rows; `$1` is the owner.
    pub(super) owned: &'static str,
    pub(super) owner: Owner,
    /// What rows are paged and compared by, within an owner; an index gives them in this order.
    pub(super) key: &'static [Column],
    /// Names one row, by a unique index.
    pub(super) identity: &'static [Column],
    /// The first column of the key where `from` joins, so that both sides of the join are bounded.
    pub(super) joined: Option<&'static str>,
    /// Columns that are not copied but made in the target, with what makes them.
    pub(super) made: &'static [(&'static str, &'static str)],
    /// Tables whose rows are found by way of this one and go with it, with the column that refers to `identity`.
    pub(super) dependents: &'static [(&'static str, &'static str)],
}

/// A column and its type.
#[derive(Clone, Copy)]
pub(super) struct Column(pub(super) &'static str, pub(super) &'static str);

/// What `$1` is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Merchant,
    /// Each endpoint of the merchant, those that were deleted included.
    Endpoint,
}

/// Rows that name their merchant.
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
const OF_ORDER: &str = "o.merchant_id = $1";
/// A message is given its place where it goes, in the order it had where it came from.
const PLACED: &[(&str, &str)] = &[("position", "nextval('outbox_position')")];

/// In the order in which rows may be stored; they are deleted in the opposite one.
pub(super) const TABLES: &[Table] = &[
    Table {
        owned: "t.id = $1",
        made: &[("state", "'arriving'"), ("moved_to", "NULL")],
        ..of_merchant("merchants", ID, ID)
    },
    of_merchant("api_keys", &[Column("hash", "bytea")], &[Column("hash", "bytea")]),
    of_merchant(
        "products",
        &[Column("sku", "text")],
        &[Column("merchant_id", "uuid"), Column("sku", "text")],
    ),
    Table { dependents: &[("customer_mails", "customer_id")], ..of_merchant("customers", ID, ID) },
    Table {
        from: Some("customer_mails AS t JOIN customers AS c ON c.id = t.customer_id"),
        owned: "c.merchant_id = $1",
        joined: Some("c.id"),
        ..of_merchant("customer_mails", CUSTOMER_MAIL, CUSTOMER_MAIL)
    },
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
/// The one that is kept in an order of its own.
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

/// The endpoints of a merchant that anything was ever sent to, by an index skip scan over all that are in the log: the rows
/// of those that were deleted are gone, and whose they were is known from what was sent.
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
