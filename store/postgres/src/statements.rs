//! The statements whose query plans are guaranteed, for the plan test.

use super::{
    admission, audit, catalog, customers, erasures, mails, order_flow, order_records, order_row, outbox,
    outbox_insert, place_order, product_lists, product_words, refunds, reservations, router, stock,
    transitions, verifications, webhooks,
};

/// Statements by module, each with the name `module::CONSTANT`.
macro_rules! statements {
    ($($module:ident: $($name:ident)+;)+) => {
        &[$($((concat!(stringify!($module), "::", stringify!($name)), $module::$name),)+)+]
    };
}

/// Name and text of each statement.
pub const ALL: &[(&str, &str)] = statements! {
    admission: OPEN UNPAID UNSENT ENDED ROOMS ROOM;
    order_flow: LIST LIST_BY_STATUS LIST_OF_CUSTOMER REPLACE_TOKEN EXPIRE;
    order_row: BY_ID OF_MERCHANT;
    transitions: STALE EXPIRE;
    audit: ALL TOUCHED MONEY REFUNDS COMMANDS STOCK SET_RESERVED OPEN ENDPOINTS;
    order_records: ORDERS STORED STATUSES REFUNDS MAILS EVENTS COMMANDS ATTEMPTS;
    outbox: CLAIM TAKEN MARK_SENT EVENTS POSITION_OF BY_ID KNOWN ORDER_EVENTS LIST BACKLOG;
    outbox_insert: WRITE;
    place_order: STORE RECORDED;
    stock: RESERVE HOLD RELEASE SHIP LOOK;
    reservations: LOCK WRITE TAKE TAKE_ALL ENDED;
    refunds: KNOWN SUMS;
    mails: OF_ORDER OF_CUSTOMER;
    customers: BY_ID BY_EMAIL FORGET;
    erasures: OPEN_ORDERS ERASABLE ERASE_ORDERS ERASE_EVENTS RECORD_OF;
    verifications: BY_ID BY_KEY BY_TOKEN OF_EMAIL EXPIRE;
    catalog: ONE CATEGORIES;
    product_lists: LIST LIST_BY_CATEGORY BY_PRICE BY_PRICE_DESCENDING OF_CATEGORY_BY_PRICE
        OF_CATEGORY_BY_PRICE_DESCENDING FOUND FOUND_DESCENDING CANDIDATES FACETS FACETS_OF_CATEGORY FACETS_FOUND;
    product_words: ADD REMOVE WITHOUT FILL;
    webhooks: ONE BY_ID LIST ENABLED ATTEMPTS_OF_ORDER DELIVERED;
    router: OWNER;
};
