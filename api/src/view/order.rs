//! Response bodies of orders, their payments and refunds.

use base::Timestamp;
use serde::Serialize;
use store::domain::{Address, Customer, Order, OrderLine, OrderStatus, PaymentId, PaymentState, Shipment};
use utoipa::ToSchema;

/// An order. Personal data are `null` for a caller with a publishable key and neither the session of the customer who
/// placed the order nor the order's token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Order)]
pub(crate) struct OrderView {
    /// Always `order`.
    #[schema(example = "order")]
    object: &'static str,
    /// Its id, `ord_…`.
    #[schema(example = "ord_019aa3c2-7f5e-7cc1-b3a4-1d7a9b1c2d3e")]
    id: String,
    /// `pending`, `paid`, `fulfilled`, `payment_failed`, `cancelled` or `refunded`.
    #[schema(example = "pending")]
    status: &'static str,
    /// ISO 4217.
    #[schema(example = "EUR")]
    currency: String,
    /// Sum of the lines in minor units.
    total_minor: i64,
    /// Sum of the refunds so far.
    refunded_minor: i64,
    /// The lines, at the prices of the time of ordering.
    items: Vec<ItemView>,
    /// The customer; `null` without access to personal data.
    customer: Option<CustomerView>,
    /// The payment, once it has begun.
    payment: Option<PaymentView>,
    /// The shipping address; `null` without access to personal data, too.
    shipping_address: Option<AddressView>,
    /// The merchant's own number for the order; `null` without access to personal data, too.
    reference: Option<String>,
    /// Why the payment failed or the order was cancelled, as a stable code.
    status_reason: Option<String>,
    /// The shipment, once fulfilled; `null` without access to personal data, too.
    shipment: Option<ShipmentView>,
    /// Time of ordering.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Last change of state.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A line of an order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderItem)]
struct ItemView {
    sku: String,
    /// The product's name when ordered.
    name: String,
    quantity: u32,
    /// Per unit, when ordered.
    price_minor: i64,
    /// Price times quantity.
    total_minor: i64,
}

/// The customer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Customer)]
struct CustomerView {
    email: String,
    name: String,
}

/// A postal address.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Address)]
struct AddressView {
    name: String,
    line1: String,
    line2: Option<String>,
    city: String,
    postal_code: String,
    /// ISO 3166-1 alpha-2.
    country: String,
}

/// The payment of an order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderPayment)]
pub(crate) struct PaymentView {
    /// Its id, `pay_…`.
    id: String,
    /// `created`, `processing`, `captured`, `declined`, `refunded`; `unknown` while the payment store is unavailable.
    #[schema(example = "captured")]
    status: &'static str,
}

/// A shipment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Shipment)]
struct ShipmentView {
    /// Its id, `shp_…`.
    id: String,
    #[schema(value_type = String, format = DateTime)]
    shipped_at: Timestamp,
}

/// A requested refund. Shows no amount: a repetition under the same key may have named another amount than the refund
/// has. The order's timeline shows the refunded amount.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Refund)]
pub(crate) struct RefundView {
    /// Always `refund`.
    #[schema(example = "refund")]
    pub(crate) object: &'static str,
    /// Its id, `ref_…`.
    pub(crate) id: String,
    /// The order.
    pub(crate) order: String,
    /// Always `requested`; the order's timeline shows the progress.
    #[schema(example = "requested")]
    pub(crate) status: &'static str,
}

impl OrderView {
    pub(crate) fn new(order: &Order, payment: Option<PaymentView>) -> Self {
        Self {
            object: "order",
            id: order.id.to_string(),
            status: order.status.as_str(),
            currency: order.currency.to_string(),
            total_minor: order.total_minor,
            refunded_minor: order.refunded_minor,
            items: order.lines.iter().map(ItemView::new).collect(),
            customer: Some(CustomerView::new(&order.customer)),
            payment,
            shipping_address: order.shipping_address.as_ref().map(AddressView::new),
            reference: order.reference.clone(),
            status_reason: order.status_reason.clone(),
            shipment: order.shipment.as_ref().map(ShipmentView::new),
            created_at: order.created_at,
            updated_at: order.updated_at,
        }
    }

    /// The order without personal data. Names every field, so that adding a field requires a decision here.
    pub(crate) fn without_personal_data(self) -> Self {
        let Self {
            object,
            id,
            status,
            currency,
            total_minor,
            refunded_minor,
            items,
            customer: _,
            payment,
            shipping_address: _,
            reference: _,
            status_reason,
            shipment: _,
            created_at,
            updated_at,
        } = self;
        Self {
            object,
            id,
            status,
            currency,
            total_minor,
            refunded_minor,
            items,
            customer: None,
            payment,
            shipping_address: None,
            reference: None,
            status_reason,
            shipment: None,
            created_at,
            updated_at,
        }
    }

    /// The response to a new order, which has no payment yet; stored for idempotent replays.
    pub(crate) fn render_new(order: &Order) -> String {
        // Strings and numbers only: this cannot fail.
        serde_json::to_string(&Self::new(order, None)).unwrap_or_default()
    }
}

/// An order in the state it was placed in, with later changes undone, so that the first response can be repeated byte
/// for byte at any later time.
pub(crate) fn as_placed(order: Order) -> Order {
    Order {
        status: OrderStatus::Pending,
        status_reason: None,
        refunded_minor: 0,
        shipment: None,
        event_sequence: 1,
        updated_at: order.created_at,
        ..order
    }
}

impl PaymentView {
    pub(crate) fn new(id: PaymentId, state: PaymentState) -> Self {
        Self { id: id.to_string(), status: state.as_str() }
    }

    pub(crate) fn unknown(id: PaymentId) -> Self {
        Self { id: id.to_string(), status: "unknown" }
    }

    /// The payment state where the order's own state implies it, without a read of the payment store.
    pub(crate) fn implied_by(order: &Order) -> Option<Self> {
        let state = match order.status {
            OrderStatus::Paid | OrderStatus::Fulfilled => PaymentState::Captured,
            OrderStatus::PaymentFailed => PaymentState::Declined,
            OrderStatus::Refunded => PaymentState::Refunded,
            OrderStatus::Pending | OrderStatus::Cancelled => return None,
        };
        Some(Self::new(PaymentId::of_order(order.id), state))
    }
}

impl ItemView {
    fn new(line: &OrderLine) -> Self {
        let OrderLine { sku, name, quantity, price_minor, total_minor } = line.clone();
        Self { sku, name, quantity, price_minor, total_minor }
    }
}

impl CustomerView {
    fn new(customer: &Customer) -> Self {
        let Customer { email, name } = customer.clone();
        Self { email, name }
    }
}

impl AddressView {
    fn new(address: &Address) -> Self {
        let Address { name, line1, line2, city, postal_code, country } = address.clone();
        Self { name, line1, line2, city, postal_code, country }
    }
}

impl ShipmentView {
    fn new(shipment: &Shipment) -> Self {
        Self { id: shipment.id.to_string(), shipped_at: shipment.shipped_at }
    }
}
