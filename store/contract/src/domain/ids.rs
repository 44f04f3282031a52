//! Typed ids of the domain, see [`base::ids`].

base::typed_id!(
    /// Id of a merchant.
    MerchantId,
    "mer"
);
base::typed_id!(
    /// Id of an API key (not its secret).
    KeyId,
    "key"
);
base::typed_id!(
    /// Id of an order.
    OrderId,
    "ord"
);
base::typed_id!(
    /// Id of a payment; one per order, derived from the order's id.
    PaymentId,
    "pay"
);
base::typed_id!(
    /// Id of a refund of a payment.
    RefundId,
    "ref"
);
base::typed_id!(
    /// Id of a shipment; one per order, derived from the order's id.
    ShipmentId,
    "shp"
);
base::typed_id!(
    /// Id of a cart.
    CartId,
    "cart"
);
base::typed_id!(
    /// Id of a registered customer.
    CustomerId,
    "cus"
);
base::typed_id!(
    /// Id of a request to verify a mail address.
    VerificationId,
    "ver"
);
base::typed_id!(
    /// Id of an event.
    EventId,
    "evt"
);
base::typed_id!(
    /// Id of a webhook endpoint.
    EndpointId,
    "whe"
);

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
