//! Request bodies of carts.

use store::domain::{Address, Currency, Customer};

use crate::{
    input::{currency, object, optional, request},
    routes::order_fields::{Items, items, payment_method, quantity, reference},
};

request! {
    /// A new cart; every field may be left out.
    pub(super) struct CartCreate: optional {
        /// ISO 4217; the currency of the first product when absent.
        pub(super) currency: Option<Currency> = optional(currency()),
        /// Quantities of items with the same sku are added up.
        pub(super) items: Option<Items> = optional(items()),
    }
}

request! {
    /// Quantity of a product.
    pub(super) struct CartItemPut {
        /// 0 removes the product.
        pub(super) quantity: u32 = quantity(0),
    }
}

request! {
    /// Order of a cart.
    pub(super) struct CartCheckout {
        /// The customer; the one who is signed in when absent.
        pub(super) customer: Option<Customer> = optional(object()),
        /// The payment provider's token; never a card number.
        pub(super) payment_method: String = payment_method(),
        pub(super) shipping_address: Option<Address> = optional(object()),
        /// The merchant's own number for the order.
        pub(super) reference: Option<String> = optional(reference()),
    }
}
