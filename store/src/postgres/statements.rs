//! The statements whose plans are promised, for the test that looks at them.

use super::{
    catalog, emit, mails, order_flow, order_row, outbox, placement, refunds, sharded, stock, webhooks,
};

/// Name and text of each.
pub const ALL: &[(&str, &str)] = &[
    ("orders::LIST", order_flow::LIST),
    ("orders::LIST_BY_STATUS", order_flow::LIST_BY_STATUS),
    ("orders::BY_ID", order_row::BY_ID),
    ("orders::OF_MERCHANT", order_row::OF_MERCHANT),
    ("orders::EXPIRE", order_flow::EXPIRE),
    ("outbox::CLAIM", outbox::CLAIM),
    ("outbox::TAKEN", outbox::TAKEN),
    ("outbox::MARK_SENT", outbox::MARK_SENT),
    ("outbox::EVENTS", outbox::EVENTS),
    ("outbox::POSITION_OF", outbox::POSITION_OF),
    ("outbox::BY_ID", outbox::BY_ID),
    ("outbox::ORDER_EVENTS", outbox::ORDER_EVENTS),
    ("outbox::BACKLOG", outbox::BACKLOG),
    ("emit::WRITE", emit::WRITE),
    ("placement::STORE", placement::STORE),
    ("placement::RECORDED", placement::RECORDED),
    ("stock::RESERVE", stock::RESERVE),
    ("stock::RELEASE", stock::RELEASE),
    ("stock::SHIP", stock::SHIP),
    ("stock::LOOK", stock::LOOK),
    ("refunds::KNOWN", refunds::KNOWN),
    ("refunds::ASKED", refunds::ASKED),
    ("mails::OF_ORDER", mails::OF_ORDER),
    ("catalog::ONE", catalog::ONE),
    ("catalog::LIST", catalog::LIST),
    ("catalog::LIST_BY_CATEGORY", catalog::LIST_BY_CATEGORY),
    ("catalog::CATEGORIES", catalog::CATEGORIES),
    ("webhooks::ONE", webhooks::ONE),
    ("webhooks::BY_ID", webhooks::BY_ID),
    ("webhooks::LIST", webhooks::LIST),
    ("webhooks::ENABLED", webhooks::ENABLED),
    ("webhooks::ATTEMPTS_OF_ORDER", webhooks::ATTEMPTS_OF_ORDER),
    ("webhooks::DELIVERED", webhooks::DELIVERED),
    ("sharded::OWNER", sharded::OWNER),
];
