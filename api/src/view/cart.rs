//! Response bodies of carts.

use base::Timestamp;
use serde::Serialize;
use store::catalog::Product;
use utoipa::ToSchema;

use crate::carts::{Cart, CartItem, CartRef};

/// A cart at current prices.
#[derive(Serialize, ToSchema)]
#[schema(as = Cart)]
pub(crate) struct CartView {
    /// Always `cart`.
    #[schema(example = "cart")]
    object: &'static str,
    /// Its id, `cart_…`.
    #[schema(example = "cart_019aa3c2-7f5e-7cc1-b3a4-1d7a9b1c2d3e")]
    id: String,
    /// `open`, or `closed` once it was ordered.
    #[schema(example = "open")]
    status: &'static str,
    /// ISO 4217; `null` until the first product sets it.
    #[schema(example = "EUR")]
    currency: Option<String>,
    /// The items, in the order of adding.
    items: Vec<CartItemView>,
    /// Sum of the lines in minor units.
    total_minor: i64,
    /// The owner, `cus_…`: the cart is found in this customer's sessions only.
    customer: Option<String>,
    /// The order it has become, `ord_…`; shown in the session of its customer and with a secret key.
    order: Option<String>,
    /// When the reservation of the items ends; `null` without one.
    #[schema(value_type = Option<String>, format = DateTime)]
    reserved_until: Option<Timestamp>,
    /// When the cart is deleted unless it is changed before.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// A line of a cart.
#[derive(Serialize, ToSchema)]
#[schema(as = CartItem)]
pub(crate) struct CartItemView {
    sku: String,
    /// `null` when the product is no longer sold, or now in another currency.
    name: Option<String>,
    quantity: u32,
    /// Per unit; `null` as `name` is.
    price_minor: Option<i64>,
    /// Price times quantity; `null` as `name` is.
    line_total_minor: Option<i64>,
    /// Units that could be ordered now, those reserved for this cart included.
    available: i64,
}

impl CartItemView {
    /// `product` is the product as sold now, in the cart's currency.
    pub(crate) fn new(item: CartItem, product: Option<Product>, is_reserved: bool) -> Self {
        let CartItem { sku, quantity } = item;
        // Far from overflowing: the largest price times the largest quantity is 10^16.
        let total = |product: &Product| product.price_minor.saturating_mul(i64::from(quantity));
        let own = if is_reserved { i64::from(quantity) } else { 0 };
        let available = |product: &Product| product.available().saturating_add(own).min(product.on_hand);
        Self {
            quantity,
            price_minor: product.as_ref().map(|product| product.price_minor),
            line_total_minor: product.as_ref().map(total),
            available: product.as_ref().map_or(0, available),
            name: product.map(|product| product.name),
            sku,
        }
    }
}

impl CartView {
    pub(crate) fn new(place: &CartRef<'_>, cart: &Cart, items: Vec<CartItemView>) -> Self {
        let order = cart.order();
        Self {
            object: "cart",
            id: place.id.to_string(),
            status: if order.is_some() { "closed" } else { "open" },
            currency: cart.currency.map(|currency| currency.to_string()),
            total_minor: items.iter().filter_map(|item| item.line_total_minor).fold(0, i64::saturating_add),
            items,
            customer: cart.customer.map(|customer| customer.to_string()),
            order: order.filter(|_| place.is_entitled(cart.customer)).map(|order| order.to_string()),
            reserved_until: cart.reserved_until(place.state.ambient.now()),
            expires_at: cart.expires_at,
        }
    }
}
