//! Request bodies of orders, cancellations and refunds.

use store::domain::{AMOUNT_MINOR_MAX, Address, Currency, Customer};

use crate::{
    input::{REASON, currency, integer, line, object, optional, request},
    routes::order_fields::{Items, items, payment_method, reference},
};

request! {
    /// A new order. Prices are the catalog's, never the client's.
    pub(super) struct OrderCreate {
        pub(super) customer: Customer = object(),
        /// ISO 4217; the currency of every product in the order.
        pub(super) currency: Currency = currency(),
        /// Quantities of items with the same sku are added up.
        pub(super) items: Items = items(),
        /// The payment provider's token; never a card number.
        pub(super) payment_method: String = payment_method(),
        pub(super) shipping_address: Option<Address> = optional(object()),
        /// The merchant's own number for the order.
        pub(super) reference: Option<String> = optional(reference()),
    }
}

request! {
    /// Reason of a cancellation.
    pub(super) struct OrderCancel: optional {
        /// A stable code; `requested_by_merchant` when absent.
        pub(super) reason: Option<String> = optional(REASON.rule()),
    }
}

request! {
    /// Amount of a refund.
    pub(super) struct RefundCreate: optional {
        /// In minor units; the whole remainder when absent.
        pub(super) amount_minor: Option<i64> = optional(integer(1..=AMOUNT_MINOR_MAX)),
        /// For the merchant's own log; not stored.
        #[expect(dead_code, reason = "accepted and checked; the order store has no place for it")]
        reason: Option<String> = optional(line(200)),
    }
}
