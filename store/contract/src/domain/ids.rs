//! Typed ids of the domain, see [`base::ids`].

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal,)+) => {
        $(base::typed_id!($(#[$doc])* $name, $prefix);)+
    };
}

ids! {
    MerchantId = "mer",
    /// Id of an API key (not its secret).
    KeyId = "key",
    OrderId = "ord",
    /// Id of a payment; one per order, derived from the order's id.
    PaymentId = "pay",
    /// Id of a refund of a payment.
    RefundId = "ref",
    /// Id of a shipment; one per order, derived from the order's id.
    ShipmentId = "shp",
    CartId = "cart",
    CustomerId = "cus",
    /// Id of a request to verify a mail address.
    VerificationId = "ver",
    EventId = "evt",
    EndpointId = "whe",
}

impl PaymentId {
    /// The payment of an order: derived, so that a repeated job opens the same one.
    pub fn of_order(order: OrderId) -> Self {
        Self::derived(order.0, "payment")
    }
}

impl ShipmentId {
    /// The shipment of an order: derived, so that a repeated job creates the same one.
    pub fn of_order(order: OrderId) -> Self {
        Self::derived(order.0, "shipment")
    }
}
