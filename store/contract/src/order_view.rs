//! The one shape of an order: in responses, in events and under idempotency keys.
//!
//! Guarantees: names every field that clients and merchants may see, so that a field added to the domain type stays
//! internal until it is added here; holds no secret, not even the provider's token of the payment method. Fields are
//! only ever added, never removed or renamed.

use base::Timestamp;
use serde::Serialize;
#[cfg(feature = "openapi")]
use utoipa::ToSchema;

use crate::domain::{
    Address, Adjustment, Customer, Order, OrderLine, OrderStatus, PaymentId, PaymentState, Shipment,
};

/// An order. Personal data are `null` for a caller with a publishable key and neither the session of the customer who
/// placed the order nor the order's token, and for everybody once they were erased.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema), schema(as = Order))]
pub struct OrderView {
    /// Always `order`.
    #[cfg_attr(feature = "openapi", schema(example = "order"))]
    object: &'static str,
    /// Its id, `ord_…`.
    #[cfg_attr(feature = "openapi", schema(example = "ord_019aa3c2-7f5e-7cc1-b3a4-1d7a9b1c2d3e"))]
    id: String,
    /// `pending`, `paid`, `fulfilled`, `payment_failed`, `cancelled` or `refunded`.
    #[cfg_attr(feature = "openapi", schema(example = "pending"))]
    status: &'static str,
    /// ISO 4217.
    #[cfg_attr(feature = "openapi", schema(example = "EUR"))]
    currency: String,
    /// Sum of the lines and the adjustments in minor units: what is charged.
    total_minor: i64,
    /// Sum of the refunds so far.
    refunded_minor: i64,
    /// The lines, at the prices of the time of ordering.
    items: Vec<ItemView>,
    /// Discounts, shipping and taxes, where the merchant has hooks for them; left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    adjustments: Vec<AdjustmentView>,
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
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    created_at: Timestamp,
    /// Last change of state.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    updated_at: Timestamp,
    /// Time before which nine of ten orders are fulfilled, by what was measured lately. Only in the response that
    /// accepts the order, and absent while too few orders have ended lately to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    estimated_fulfilment_at: Option<Timestamp>,
}

/// A line of an order.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema), schema(as = OrderItem))]
pub struct ItemView {
    sku: String,
    /// The product's name when ordered.
    name: String,
    quantity: u32,
    /// Per unit, when ordered.
    price_minor: i64,
    /// Price times quantity.
    total_minor: i64,
}

/// An amount beside the lines.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema), schema(as = Adjustment))]
pub struct AdjustmentView {
    /// `discount`, `shipping` or `tax`.
    #[cfg_attr(feature = "openapi", schema(example = "shipping"))]
    kind: &'static str,
    /// For the customer to read.
    label: String,
    /// In minor units; a discount is zero or less, all others are zero or more.
    amount_minor: i64,
}

/// The customer.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema), schema(as = Customer))]
pub struct CustomerView {
    email: String,
    name: String,
}

/// A postal address.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema), schema(as = Address))]
pub struct AddressView {
    name: String,
    line1: String,
    line2: Option<String>,
    city: String,
    postal_code: String,
    /// ISO 3166-1 alpha-2.
    country: String,
}

/// The payment of an order.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema), schema(as = OrderPayment))]
pub struct PaymentView {
    /// Its id, `pay_…`.
    id: String,
    /// `created`, `processing`, `captured`, `declined`, `refunded`; `unknown` while the payment store is unavailable.
    #[cfg_attr(feature = "openapi", schema(example = "captured"))]
    status: &'static str,
}

/// A shipment.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(ToSchema), schema(as = Shipment))]
pub struct ShipmentView {
    /// Its id, `shp_…`.
    id: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    shipped_at: Timestamp,
}

impl OrderView {
    /// The whole order; `payment` is `None` before it has begun.
    pub fn new(order: &Order, payment: Option<PaymentView>) -> Self {
        Self {
            object: "order",
            id: order.id.to_string(),
            status: order.status.as_str(),
            currency: order.currency.to_string(),
            total_minor: order.total_minor,
            refunded_minor: order.refunded_minor,
            items: order.lines.iter().map(ItemView::new).collect(),
            adjustments: order.adjustments.iter().map(AdjustmentView::new).collect(),
            customer: (!order.customer.is_erased()).then(|| CustomerView::new(&order.customer)),
            payment,
            shipping_address: order.shipping_address.as_ref().map(AddressView::new),
            reference: order.reference.clone(),
            status_reason: order.status_reason.clone(),
            shipment: order.shipment.as_ref().map(ShipmentView::new),
            created_at: order.created_at,
            updated_at: order.updated_at,
            estimated_fulfilment_at: None,
        }
    }

    /// The order without personal data. Names every field, so that adding a field requires a decision here.
    #[must_use]
    pub fn without_personal_data(mut self) -> Self {
        let Self {
            object: _,
            id: _,
            status: _,
            currency: _,
            total_minor: _,
            refunded_minor: _,
            items: _,
            adjustments: _,
            customer,
            payment: _,
            shipping_address,
            reference,
            status_reason: _,
            shipment,
            created_at: _,
            updated_at: _,
            estimated_fulfilment_at: _,
        } = &mut self;
        (*customer, *shipping_address, *reference, *shipment) = (None, None, None, None);
        self
    }

    /// The response to a new order, which has no payment yet; stored for idempotent replays. Equal for the order as it
    /// is placed and for the same order at any later time.
    pub fn of_new(order: &Order) -> String {
        Self::of_accepted(order, None)
    }

    /// The same with the time by which the order is expected to be fulfilled.
    pub fn of_accepted(order: &Order, estimated_fulfilment_at: Option<Timestamp>) -> String {
        let view = Self { estimated_fulfilment_at, ..Self::new(&as_placed(order.clone()), None) };
        // Strings and numbers only: this cannot fail.
        serde_json::to_string(&view).unwrap_or_default()
    }

    /// The data of an event: the order after the change, with the state of the payment that follows from it.
    pub fn of_event(order: &Order) -> Self {
        Self::new(order, PaymentView::implied_by(order))
    }
}

/// An order in the state it was placed in, with later changes undone.
fn as_placed(order: Order) -> Order {
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
    /// A payment in this state.
    pub fn new(id: PaymentId, state: PaymentState) -> Self {
        Self { id: id.to_string(), status: state.as_str() }
    }

    /// A payment whose store is unavailable.
    pub fn unknown(id: PaymentId) -> Self {
        Self { id: id.to_string(), status: "unknown" }
    }

    /// The name of its state.
    pub fn status(&self) -> &'static str {
        self.status
    }

    /// The payment state where the order's own state implies it, without a read of the payment store.
    pub fn implied_by(order: &Order) -> Option<Self> {
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

impl AdjustmentView {
    /// The amount as clients see it.
    pub fn new(adjustment: &Adjustment) -> Self {
        let Adjustment { kind, label, amount_minor } = adjustment;
        Self { kind: kind.as_str(), label: label.clone(), amount_minor: *amount_minor }
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
