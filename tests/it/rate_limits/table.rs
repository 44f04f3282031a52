//! Table of the API's limits with small quotas: the requests that take from each of them, and who sends these.
//!
//! Guarantees: the quotas are those of [`QUOTAS`], or fixed ones of the API; a flood of a second exceeds each of them.
//! Whether every limit of the API has a row is checked by its metrics, see
//! `every_limit_is_in_the_table_or_left_out_for_a_reason`.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::util::order;

/// Limits without a row, each with the reason. There are none: the largest fixed quota, of the payment provider's
/// webhooks, is 200 a second, and a flood without pauses sends more.
pub(super) const LEFT_OUT: &[(&str, &str)] = &[];

/// Settings of the processes: the quotas of the table, and what makes a route or an address reachable.
pub(super) const QUOTAS: [(&str, &str); 20] = [
    ("ORDERWORKS_READS_PER_IP_PER_SECOND", "40"),
    ("ORDERWORKS_READS_PER_KEY_PER_SECOND", "40"),
    ("ORDERWORKS_READS_SEARCHES_PER_IP_PER_SECOND", "10"),
    ("ORDERWORKS_READS_SEARCHES_PER_KEY_PER_SECOND", "10"),
    ("ORDERWORKS_WRITES_PER_IP_PER_SECOND", "20"),
    ("ORDERWORKS_WRITES_PER_KEY_PER_SECOND", "20"),
    ("ORDERWORKS_WRITES_PER_MERCHANT_PER_SECOND", "40"),
    ("ORDERWORKS_CHECKOUT_PER_IP_PER_SECOND", "20"),
    ("ORDERWORKS_CHECKOUT_PER_KEY_PER_SECOND", "20"),
    ("ORDERWORKS_CHECKOUT_PER_PUBLISHABLE_KEY_PER_SECOND", "40"),
    ("ORDERWORKS_CHECKOUT_PER_MERCHANT_PER_SECOND", "40"),
    ("ORDERWORKS_CHECKOUT_BURST", "20"),
    ("ORDERWORKS_CHECKOUT_INVALID_PER_IP_PER_MINUTE", "30"),
    ("ORDERWORKS_CARTS_NEW_PER_IP_PER_MINUTE", "10"),
    ("ORDERWORKS_CARTS_NEW_PER_MERCHANT_PER_DAY", "20"),
    ("ORDERWORKS_SIGN_IN_PER_IP_PER_MINUTE", "600"),
    ("ORDERWORKS_SIGN_IN_PER_ACCOUNT_PER_MINUTE", "1"),
    ("ORDERWORKS_SIGN_IN_BURST", "7"),
    ("ORDERWORKS_PAYMENTS_STRIPE_WEBHOOK_SECRETS", r#"["whsec_1"]"#),
    ("ORDERWORKS_SERVER_TRUSTED_PROXIES", r#"["127.0.0.0/8"]"#),
];

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
/// Rarer requests than one in this time are counted one by one, not leased.
const LEASED: Duration = Duration::from_millis(50);

/// A limit, and the requests that take from it.
pub(super) struct Limit {
    pub(super) name: &'static str,
    /// Time in which one more request is allowed.
    pub(super) interval: Duration,
    /// Requests allowed at once.
    pub(super) burst: u32,
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) body: Option<Value>,
    pub(super) callers: Callers,
    pub(super) room: Room,
    /// Other limits that may refuse these requests, too.
    pub(super) beside: &'static [&'static str],
}

/// Keys and addresses of a row's callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callers {
    /// One secret key, at one address.
    Secret,
    /// Secret keys of one merchant, one for each caller, at one address.
    Secrets,
    /// The publishable key, at one address.
    Public,
    /// The publishable key, at an address of each caller.
    PublicApart,
    /// A key that no merchant has, at one address.
    Strangers,
}

/// Part of the merchant's waiting room in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Off,
    /// Callers come without a place.
    Entered,
    /// All callers carry one admitted place.
    Passed,
}

impl Limit {
    /// `number` requests in this time, and as many at once.
    fn of(
        name: &'static str,
        (number, span): (u32, Duration),
        callers: Callers,
        (method, path): (Method, &'static str),
    ) -> Self {
        let interval = span / number;
        let (body, room) = (None, Room::Off);
        Self { name, interval, burst: number, method, path, body, callers, room, beside: &[] }
    }

    fn at_once(self, burst: u32) -> Self {
        Self { burst, ..self }
    }

    fn sending(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    fn beside(self, beside: &'static [&'static str]) -> Self {
        Self { beside, ..self }
    }

    fn in_room(self, room: Room) -> Self {
        Self { room, ..self }
    }

    /// Time for which the limit is flooded at least: many times the life of a lease, where there are leases.
    pub(super) fn flood(&self) -> Duration {
        Duration::from_millis(if self.interval <= LEASED { 1_500 } else { 750 })
    }
}

pub(super) fn limits() -> Vec<Limit> {
    [reads(), writes(), orders(), shoppers(), before_keys()].into_iter().flatten().collect()
}

fn reads() -> Vec<Limit> {
    let (list, search) = ((Method::GET, "/v1/products"), (Method::GET, "/v1/products?q=cup"));
    vec![
        Limit::of("read-ip", (40, SECOND), Callers::Public, list),
        Limit::of("read-key", (40, SECOND), Callers::Secret, (Method::GET, "/v1/orders")),
        Limit::of("search-ip", (10, SECOND), Callers::Public, search.clone()).beside(&["read-ip"]),
        Limit::of("search-key", (10, SECOND), Callers::Secret, search).beside(&["read-key"]),
    ]
}

fn writes() -> Vec<Limit> {
    let sign_out = (Method::DELETE, "/v1/sessions/current");
    let delete = (Method::DELETE, "/v1/webhook_endpoints/x");
    let resend = (Method::POST, "/v1/events/x/resend");
    vec![
        Limit::of("write-ip", (20, SECOND), Callers::Public, sign_out),
        Limit::of("write-key", (20, SECOND), Callers::Secret, delete.clone()).beside(&["write-merchant"]),
        Limit::of("write-merchant", (40, SECOND), Callers::Secrets, delete).beside(&["write-key"]),
        Limit::of("resend-key", (10, SECOND), Callers::Secret, resend)
            .beside(&["write-key", "write-merchant"]),
    ]
}

fn orders() -> Vec<Limit> {
    let order = |name, number, callers| {
        let bought = order("CUP", 1, "pm_card_visa");
        Limit::of(name, (number, SECOND), callers, (Method::POST, "/v1/orders")).sending(bought)
    };
    let invalid = (Method::POST, "/v1/orders");
    vec![
        order("checkout-ip", 20, Callers::Public).beside(&["checkout-key"]),
        order("checkout-key", 20, Callers::Secret).beside(&["checkout-merchant"]),
        // The publishable key has a limit of its own under this name.
        order("checkout-key", 40, Callers::PublicApart).beside(&["checkout-ip"]),
        order("checkout-merchant", 40, Callers::Secrets).beside(&["checkout-key"]),
        Limit::of("checkout-invalid", (30, MINUTE), Callers::Secret, invalid).sending(json!({})),
        Limit { interval: MINUTE, ..order("place-orders", 5, Callers::PublicApart) }
            .beside(&["checkout-ip", "checkout-key"])
            .in_room(Room::Passed),
    ]
}

fn shoppers() -> Vec<Limit> {
    let (cart, item) = ((Method::POST, "/v1/carts"), (Method::PUT, "/v1/carts/x/items/CUP"));
    let (sign_in, room) = ((Method::POST, "/v1/sessions"), (Method::GET, "/v1/waiting_room"));
    // No password is checked for it.
    let reset = (Method::POST, "/v1/customers/password_reset");
    vec![
        Limit::of("cart-ip", (20, SECOND), Callers::Public, item).sending(json!({ "quantity": 1 })),
        Limit::of("new-cart-ip", (10, MINUTE), Callers::Public, cart.clone()),
        Limit::of("new-cart-merchant", (20, DAY), Callers::PublicApart, cart).beside(&["new-cart-ip"]),
        Limit::of("sign-in-ip", (600, MINUTE), Callers::Public, sign_in).at_once(7).sending(json!({})),
        Limit::of("sign-in-account", (1, MINUTE), Callers::Public, reset)
            .at_once(7)
            .sending(json!({ "email": "ada@example.com" }))
            .beside(&["sign-in-ip"]),
        Limit::of("new-place-ip", (60, MINUTE), Callers::Secrets, room)
            .beside(&["read-key"])
            .in_room(Room::Entered),
    ]
}

fn before_keys() -> Vec<Limit> {
    let webhook = (Method::POST, "/v1/provider_webhooks/stripe");
    vec![
        Limit::of("key-lookup", (100, SECOND), Callers::Strangers, (Method::GET, "/v1/products")),
        Limit::of("provider-webhook", (200, SECOND), Callers::Strangers, webhook).sending(json!({})),
    ]
}
