//! Answers of the public API, as far as pages show them.

use base::Timestamp;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
    pub(super) has_more: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Category {
    pub(super) slug: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Product {
    pub(super) sku: String,
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) category: String,
    pub(super) price_minor: i64,
    pub(super) currency: String,
    pub(super) available: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Cart {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) currency: Option<String>,
    pub(super) items: Vec<CartItem>,
    pub(super) total_minor: i64,
    /// Shown to its customer once it was ordered.
    pub(super) order: Option<String>,
    /// `None` without a reservation that still runs.
    pub(super) reserved_until: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CartItem {
    pub(super) sku: String,
    /// `None` where the product is no longer sold, or in another currency.
    pub(super) name: Option<String>,
    pub(super) quantity: u32,
    pub(super) line_total_minor: Option<i64>,
    pub(super) available: i64,
}

/// A discount, shipping or a tax.
#[derive(Debug, Deserialize)]
pub(super) struct Adjustment {
    pub(super) label: String,
    pub(super) amount_minor: i64,
}

/// What an order of a cart comes to.
#[derive(Debug, Deserialize)]
pub(super) struct Quote {
    pub(super) adjustments: Vec<Adjustment>,
    pub(super) total_minor: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Order {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) currency: String,
    pub(super) total_minor: i64,
    pub(super) items: Vec<OrderItem>,
    /// Left out where there are none.
    #[serde(default)]
    pub(super) adjustments: Vec<Adjustment>,
    /// `None` without access to personal data.
    pub(super) shipping_address: Option<Address>,
    pub(super) created_at: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct OrderItem {
    pub(super) sku: String,
    pub(super) name: String,
    pub(super) quantity: u32,
    pub(super) total_minor: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Address {
    pub(super) name: String,
    pub(super) line1: String,
    pub(super) city: String,
    pub(super) postal_code: String,
    pub(super) country: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Account {
    pub(super) email: String,
    pub(super) name: String,
}

/// The customer's sign-ins.
#[derive(Debug, Deserialize)]
pub(super) struct Sessions {
    pub(super) data: Vec<LiveSession>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LiveSession {
    pub(super) current: bool,
    pub(super) opened_at: String,
    pub(super) used_at: String,
}

// Without Debug: the token is secret.
#[derive(Deserialize)]
pub(super) struct NewSession {
    pub(super) token: String,
}
