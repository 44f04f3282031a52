//! The `data` of an event: the object after the change, in the shape of the HTTP contract.
//!
//! Guarantees: contains no secret, not even the payment provider's token; the same for every engine. Times are RFC 3339
//! in UTC. Fields are only ever added, never removed or renamed.

use serde_json::{Value, json};

use crate::{
    customers::Account,
    domain::{CustomerId, Order, PaymentId, PaymentState, RefundId},
    merchants::CardTestingFacts,
    order_view::OrderView,
    orders::{DisputeFacts, RefundFacts},
    webhooks::Endpoint,
};

/// An order, see [`OrderView`].
pub fn order(order: &Order) -> Value {
    // Strings and numbers only: this cannot fail.
    serde_json::to_value(OrderView::of_event(order)).unwrap_or_default()
}

/// A captured payment: `{object, id, order_id, status, amount_minor, currency}`.
pub fn payment_captured(id: PaymentId, order: &Order, amount_minor: i64) -> Value {
    payment(id, order, PaymentState::Captured, amount_minor)
}

/// A declined payment: the fields of [`payment_captured`] and `code`.
pub fn payment_failed(id: PaymentId, order: &Order, code: &str) -> Value {
    let mut data = payment(id, order, PaymentState::Declined, order.total_minor);
    data["code"] = json!(code);
    data
}

/// A refund: the data of the payment with `refund_id`, `refund_amount_minor` (this refund) and `refunded_minor` (all
/// refunds so far). `order` is the order after the refund, `amount_minor` the captured amount.
pub fn payment_refunded(order: &Order, amount_minor: i64, refund: &RefundFacts) -> Value {
    let all_back = order.refunded_minor >= order.total_minor;
    let state = if all_back { PaymentState::Refunded } else { PaymentState::Captured };
    let mut data = payment(refund.payment, order, state, amount_minor);
    data["refund_id"] = json!(refund.refund);
    data["refund_amount_minor"] = json!(refund.amount_minor);
    data["refunded_minor"] = json!(order.refunded_minor);
    data
}

/// Id and amount of the refund in the data of [`payment_refunded`], unless all is refunded by now.
pub fn partial_refund(data: &Value) -> Option<(RefundId, i64)> {
    if data["status"] != PaymentState::Captured.as_str() {
        return None;
    }
    Some((data["refund_id"].as_str()?.parse().ok()?, data["refund_amount_minor"].as_i64()?))
}

/// A refused refund: the fields of [`payment_refunded`] and `code`.
pub fn refund_failed(order: &Order, amount_minor: i64, refund: &RefundFacts, code: &str) -> Value {
    let mut data = payment_refunded(order, amount_minor, refund);
    data["code"] = json!(code);
    data
}

/// A disputed payment: the fields of [`payment_captured`] with `dispute_id`, `dispute_status` and `reason`.
pub fn payment_disputed(order: &Order, amount_minor: i64, dispute: &DisputeFacts) -> Value {
    let mut data = payment(dispute.payment, order, PaymentState::Captured, amount_minor);
    data["dispute_id"] = json!(dispute.reference);
    data["dispute_status"] = json!(dispute.status);
    data["reason"] = json!(dispute.reason);
    data
}

/// The stock of a product: `{object, sku, on_hand, reserved, available}`.
pub fn inventory(sku: &str, on_hand: i64, reserved: i64) -> Value {
    json!({
        "object": "inventory",
        "sku": sku,
        "on_hand": on_hand,
        "reserved": reserved,
        "available": on_hand - reserved,
    })
}

/// A registered customer: `{object, id, email, name, created_at}`.
pub fn customer(account: &Account) -> Value {
    json!({
        "object": "customer",
        "id": account.id,
        "email": account.customer.email,
        "name": account.customer.name,
        "created_at": account.created_at,
    })
}

/// The rest of [`customer`] after the account was deleted: `{object, id, deleted}`.
pub fn deleted_customer(id: CustomerId) -> Value {
    json!({ "object": "customer", "id": id, "deleted": true })
}

/// Removes the personal data from the data of an order's event; other data stay as they are.
pub fn erase_customer(data: &mut Value) {
    if data.get("customer").is_some() {
        for field in ["customer", "shipping_address", "reference"] {
            data[field] = Value::Null;
        }
    }
}

/// A disabled endpoint: `{object, id, url, enabled, disabled: {at, reason}}`.
pub fn endpoint_disabled(endpoint: &Endpoint) -> Value {
    json!({
        "object": "webhook_endpoint",
        "id": endpoint.id,
        "url": endpoint.url,
        "enabled": endpoint.enabled,
        "disabled": endpoint.disabled.map(|disabled| json!({
            "at": disabled.at,
            "reason": disabled.reason.as_str(),
        })),
    })
}

/// Declined payments: `{object, since, payments, declined}`.
pub fn card_testing(facts: &CardTestingFacts) -> Value {
    json!({
        "object": "card_testing_alarm",
        "since": facts.since,
        "payments": facts.payments,
        "declined": facts.declined,
    })
}

/// The customer id in the data of [`customer`].
pub fn customer_id(data: &Value) -> Option<CustomerId> {
    data["id"].as_str()?.parse().ok()
}

/// The mail address in the data of [`customer`]; `None` after the account was deleted.
pub fn customer_email(data: &Value) -> Option<&str> {
    data["email"].as_str()
}

fn payment(id: PaymentId, order: &Order, state: PaymentState, amount_minor: i64) -> Value {
    json!({
        "object": "payment",
        "id": id,
        "order_id": order.id,
        "status": state,
        "amount_minor": amount_minor,
        "currency": order.currency,
    })
}
