//! Domain types: ids, money, orders, products, events, payments, webhook endpoints.
//!
//! Guarantees: a value of these types is well-formed (a currency is three letters, an amount is in minor units). Their
//! serde form is stored and stands in event bodies; HTTP bodies are the API's own types.

mod event;
mod ids;
mod mail_address;
mod money;
mod order;
mod page;
mod payment;
mod pricing;

pub use event::{Event, EventKind};
pub use ids::{
    CartId, CustomerId, EndpointId, EventId, KeyId, MerchantId, OrderId, PaymentId, RefundId, ShipmentId,
    VerificationId,
};
pub use mail_address::{mail_domain, with_ascii_domain};
pub use money::{AMOUNT_MINOR_MAX, Currency, ParseCurrencyError, line_total, sum};
pub use order::{Address, Customer, Order, OrderLine, OrderStatus, OrderToken, Shipment};
pub use page::{Page, PageRequest};
pub use payment::{Decision, Payment, PaymentAttempt, PaymentState, Refund, RefundState};
pub use pricing::{ADJUSTMENT_LABEL_MAX, ADJUSTMENTS_PER_KIND_MAX, Adjustment, AdjustmentKind, Pricing};
