"""Objects of the API, field by field those of /openapi.json. Amounts are in minor units, times RFC 3339."""

from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

OrderStatus = Literal["pending", "paid", "fulfilled", "payment_failed", "cancelled", "refunded"]
PaymentStatus = Literal["created", "processing", "captured", "declined", "refunded", "unknown"]


class Access(TypedDict, total=False):
    """Who asks: session of a customer (`ows_…`), token of an order (`owt_…`), place in a waiting room (`owq_…`).

    `device`: an id of 16 to 64 of `A-Za-z0-9-_` that a storefront draws once and keeps; orders count by it.
    """

    session: str
    order_token: str
    place: str
    device: str


class Person(TypedDict):
    email: str
    name: str


class Address(TypedDict):
    name: str
    line1: str
    line2: NotRequired[str | None]
    city: str
    postal_code: str
    country: str


class Item(TypedDict):
    sku: str
    quantity: int


class Checkout(TypedDict):
    payment_method: str
    customer: NotRequired[Person]
    expected_total_minor: NotRequired[int]
    shipping_address: NotRequired[Address]
    reference: NotRequired[str]


class OrderCreate(TypedDict):
    customer: Person
    currency: str
    items: list[Item]
    payment_method: str
    expected_total_minor: NotRequired[int]
    shipping_address: NotRequired[Address]
    reference: NotRequired[str]


class OrderLine(TypedDict):
    sku: str
    name: str
    quantity: int
    price_minor: int
    total_minor: int


class OrderPayment(TypedDict):
    id: str
    status: PaymentStatus


class Shipment(TypedDict):
    id: str
    shipped_at: str


class Adjustment(TypedDict):
    kind: Literal["discount", "shipping", "tax"]
    label: str
    amount_minor: int


class Order(TypedDict):
    """Personal data are None without proof of access."""

    object: Literal["order"]
    id: str
    status: OrderStatus
    status_reason: str | None
    currency: str
    total_minor: int
    refunded_minor: int
    items: list[OrderLine]
    adjustments: NotRequired[list[Adjustment]]
    customer: Person | None
    payment: OrderPayment | None
    shipping_address: Address | None
    reference: str | None
    shipment: Shipment | None
    created_at: str
    updated_at: str
    estimated_fulfilment_at: NotRequired[str]


class Placed(NamedTuple):
    """An order, its token (shown this once), whether it was there before under the same key, and that key."""

    order: Order
    order_token: str | None
    is_replay: bool
    idempotency_key: str


class WaitingRoom(TypedDict):
    """In sale mode orders need an admitted `place`: keep it, and pass it with the next calls."""

    object: Literal["waiting_room"]
    status: Literal["open", "waiting", "admitted"]
    place: str | None
    ahead: int | None
    opens_at: str | None
    estimated_admission_at: str | None
    admitted_until: str | None
    ask_again_seconds: int | None


class Refund(TypedDict):
    object: Literal["refund"]
    id: str
    order: str
    amount_minor: int
    status: Literal["requested", "done"]


class Payment(TypedDict):
    object: Literal["payment"]
    id: str
    order: str
    status: PaymentStatus
    amount_minor: int
    currency: str
    created_at: str


class Timeline(TypedDict):
    object: Literal["list"]
    data: list[dict[str, Any]]
    has_more: bool
    incomplete: list[str]


class Event(TypedDict):
    """`sequence` counts from 1 without gaps per order."""

    object: NotRequired[Literal["event"]]
    id: str
    type: str
    timestamp: str
    sequence: int
    order: NotRequired[str | None]
    data: dict[str, Any]


class CartItem(TypedDict):
    sku: str
    name: str | None
    quantity: int
    price_minor: int | None
    line_total_minor: int | None
    available: int


class Cart(TypedDict):
    object: Literal["cart"]
    id: str
    status: Literal["open", "closed"]
    currency: str | None
    items: list[CartItem]
    total_minor: int
    customer: str | None
    order: str | None
    reserved_until: str | None
    expires_at: str


class Quote(TypedDict):
    object: Literal["quote"]
    currency: str
    subtotal_minor: int
    adjustments: list[Adjustment]
    total_minor: int


class Product(TypedDict):
    object: Literal["product"]
    sku: str
    name: str
    description: str | None
    category: str
    price_minor: int
    currency: str
    available: int
    updated_at: str


class ProductPut(TypedDict):
    sku: NotRequired[str]
    name: str
    description: NotRequired[str]
    category: str
    price_minor: int
    currency: str
    low_stock_at: NotRequired[int]


class Category(TypedDict):
    object: Literal["category"]
    slug: str
    products: int


class ProductFilter(TypedDict, total=False):
    """Which products. Prices need `currency`."""

    category: str
    q: str
    currency: str
    price_min: int
    price_max: int
    in_stock: bool


ProductSort = Literal["sku", "price", "-price"]


class PriceFacet(TypedDict):
    currency: str
    products: int
    lowest_minor: int
    highest_minor: int


class ProductFacets(TypedDict):
    """Counts; those of the first 10,000 products only where `is_complete` is false."""

    object: Literal["product_facets"]
    products: int
    in_stock: int
    categories: list[Category]
    prices: list[PriceFacet]
    is_complete: bool


class Inventory(TypedDict):
    object: Literal["inventory"]
    sku: str
    on_hand: int
    reserved: int
    available: int
    low_stock_at: int
    updated_at: str


class Customer(TypedDict):
    object: Literal["customer"]
    id: str
    email: str
    name: str
    created_at: str


class Requested(TypedDict):
    object: Literal["registration", "password_reset"]
    status: Literal["verification_sent"]


class Session(TypedDict):
    """`token` is shown this once."""

    object: Literal["session"]
    id: str
    token: str
    customer: Customer
    expires_at: str


class LiveSession(TypedDict):
    object: Literal["session"]
    id: str
    current: bool
    opened_at: str
    used_at: str
    expires_at: str


class CustomerExport(TypedDict):
    """Older orders than these are those of `customer_orders`."""

    object: Literal["customer_export"]
    customer: Customer
    sessions: list[LiveSession]
    orders: list[Order]
    has_more_orders: bool


class Disabled(TypedDict):
    at: str
    reason: Literal["failing", "gone"]


class WebhookEndpoint(TypedDict):
    """`secret` is there in the answers to creation and rotation only."""

    object: Literal["webhook_endpoint"]
    id: str
    url: str
    events: list[str]
    enabled: bool
    disabled: Disabled | None
    previous_secret_until: str | None
    created_at: str
    secret: NotRequired[str]


class EventResend(TypedDict):
    object: Literal["event_resend"]
    event: str
    endpoints: list[str]
    status: Literal["requested"]
