//! Ids of the domain, see [`base::ids`].

base::typed_id!(
    /// A merchant.
    MerchantId,
    "mer"
);
base::typed_id!(
    /// An API key (not its secret).
    KeyId,
    "key"
);
base::typed_id!(
    /// An order.
    OrderId,
    "ord"
);
base::typed_id!(
    /// A payment; one per order, derived from it.
    PaymentId,
    "pay"
);
base::typed_id!(
    /// A refund of a payment.
    RefundId,
    "ref"
);
base::typed_id!(
    /// A shipment; one per order, derived from it.
    ShipmentId,
    "shp"
);
base::typed_id!(
    /// A cart.
    CartId,
    "cart"
);
base::typed_id!(
    /// A registered customer.
    CustomerId,
    "cus"
);
base::typed_id!(
    /// A request to prove a mail address.
    VerificationId,
    "ver"
);
base::typed_id!(
    /// An event.
    EventId,
    "evt"
);
base::typed_id!(
    /// A webhook endpoint.
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
