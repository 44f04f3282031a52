"""Operations of the API as methods; each sends one request of `_transport.py`, a list one for each page."""

import uuid
from collections.abc import Iterator
from typing import Any, Unpack

from ._http import given, path_of, query_of
from ._transport import Transport
from .types import (
    Access, Address, Cart, Category, Checkout, Customer, CustomerExport, Event, EventResend, Inventory, Item,
    LiveSession, Order, OrderCreate, OrderStatus, Payment, Placed, Product, ProductFacets, ProductFilter, ProductPut,
    ProductSort, Quote, Refund, Requested, Session, Timeline, WaitingRoom, WebhookEndpoint,
)


class Orderworks(Transport):
    """The order API with one key: publishable in what customers hold in their hands, secret on servers only."""

    # Orders.
    def place_order(
        self, order: OrderCreate, *, idempotency_key: str | None = None, **access: Unpack[Access]
    ) -> Placed:
        return self._place("/v1/orders", order, idempotency_key, access)

    def get_order(self, order_id: str, **access: Unpack[Access]) -> Order:
        return self._json("GET", "/v1/orders/{}", order_id, access=access)

    def list_orders(self, *, status: OrderStatus | None = None, limit: int = 100) -> Iterator[Order]:
        return self._pages("/v1/orders", {"status": status, "limit": limit})

    def order_timeline(self, order_id: str, **access: Unpack[Access]) -> Timeline:
        return self._json("GET", "/v1/orders/{}/timeline", order_id, access=access)

    def order_events(
        self, order_id: str, *, last_event_id: int | None = None, **access: Unpack[Access]
    ) -> Iterator[Event]:
        """Events of an order, past ones first; reconnects where the stream is cut, and never ends by itself."""
        return self._events(path_of("/v1/orders/{}/events", order_id), last_event_id, access)

    def cancel_order(self, order_id: str, *, reason: str | None = None, **access: Unpack[Access]) -> Order:
        """May be repeated: an order is cancelled once."""
        body = given(reason=reason)
        return self._json("POST", "/v1/orders/{}/cancel", order_id, body=body, access=access, repeatable=True)

    def refund_order(
        self, order_id: str, *, amount_minor: int | None = None, reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Refund:
        body, key = given(amount_minor=amount_minor, reason=reason), idempotency_key or str(uuid.uuid4())
        return self._json("POST", "/v1/orders/{}/refund", order_id, body=body, key=key)

    def revoke_order_token(self, order_id: str) -> None:
        self._json("DELETE", "/v1/orders/{}/token", order_id)

    def list_payments(self, *, day: str | None = None, limit: int = 100) -> Iterator[Payment]:
        return self._pages("/v1/payments", {"day": day, "limit": limit})

    def waiting_room(self, **access: Unpack[Access]) -> WaitingRoom:
        return self._json("GET", "/v1/waiting_room", access=access)

    # Carts.
    def create_cart(
        self, *, currency: str | None = None, items: list[Item] | None = None, **access: Unpack[Access]
    ) -> Cart:
        return self._json("POST", "/v1/carts", body=given(currency=currency, items=items), access=access)

    def get_cart(self, cart_id: str, **access: Unpack[Access]) -> Cart:
        return self._json("GET", "/v1/carts/{}", cart_id, access=access)

    def set_cart_item(self, cart_id: str, sku: str, quantity: int, **access: Unpack[Access]) -> Cart:
        """Quantity 0 removes the product. In a session the answer may have another id: go on with that one."""
        body = {"quantity": quantity}
        return self._json("PUT", "/v1/carts/{}/items/{}", cart_id, sku, body=body, access=access)

    def quote_cart(self, cart_id: str, *, shipping_address: Address | None = None, **access: Unpack[Access]) -> Quote:
        """What an order comes to now; its total is the `expected_total_minor` of the checkout."""
        body = given(shipping_address=shipping_address)
        return self._json("POST", "/v1/carts/{}/quote", cart_id, body=body, access=access, repeatable=True)

    def reserve_cart(self, cart_id: str, **access: Unpack[Access]) -> Cart:
        """All items, or none, for shops that reserve. May be repeated, which does not move the end."""
        return self._json("POST", "/v1/carts/{}/reservation", cart_id, access=access, repeatable=True)

    def release_cart(self, cart_id: str, **access: Unpack[Access]) -> Cart:
        return self._json("DELETE", "/v1/carts/{}/reservation", cart_id, access=access)

    def checkout(
        self, cart_id: str, checkout: Checkout, *, idempotency_key: str | None = None, **access: Unpack[Access]
    ) -> Placed:
        return self._place(path_of("/v1/carts/{}/checkout", cart_id), checkout, idempotency_key, access)

    # Catalog.
    def list_products(
        self, *, sort: ProductSort | None = None, limit: int = 100, **chosen: Unpack[ProductFilter]
    ) -> Iterator[Product]:
        cursor = "{sku}" if sort in (None, "sku") else "{price_minor}:{sku}"
        return self._pages("/v1/products", {**chosen, "sort": sort, "limit": limit}, cursor=cursor)

    def product_facets(self, **chosen: Unpack[ProductFilter]) -> ProductFacets:
        return self._send("GET", "/v1/product_facets" + query_of(chosen)).data

    def get_product(self, sku: str) -> Product:
        return self._json("GET", "/v1/products/{}", sku)

    def put_product(self, sku: str, product: ProductPut) -> Product:
        return self._json("PUT", "/v1/products/{}", sku, body=product)

    def list_categories(self) -> list[Category]:
        return self._json("GET", "/v1/categories")["data"]

    def get_inventory(self, sku: str) -> Inventory:
        return self._json("GET", "/v1/inventory/{}", sku)

    def set_inventory(self, sku: str, on_hand: int) -> Inventory:
        return self._json("PUT", "/v1/inventory/{}", sku, body={"on_hand": on_hand})

    # Customers and their sessions.
    def register(self, email: str, name: str, password: str, *, idempotency_key: str | None = None) -> Requested:
        body, key = {"email": email, "name": name, "password": password}, idempotency_key or str(uuid.uuid4())
        return self._json("POST", "/v1/customers", body=body, key=key)

    def verify_address(self, token: str, password: str) -> Customer:
        return self._json("POST", "/v1/customers/verify", body={"token": token, "password": password})

    def request_password_reset(self, email: str) -> Requested:
        return self._json("POST", "/v1/customers/password_reset", body={"email": email})

    def confirm_password_reset(self, token: str, password: str) -> None:
        self._json("POST", "/v1/customers/password_reset/confirm", body={"token": token, "password": password})

    def sign_in(self, email: str, password: str) -> Session:
        return self._json("POST", "/v1/sessions", body={"email": email, "password": password})

    def sign_out(self, session: str) -> None:
        self._json("DELETE", "/v1/sessions/current", access={"session": session})

    def list_sessions(self, session: str) -> list[LiveSession]:
        return self._json("GET", "/v1/sessions", access={"session": session})["data"]

    def end_session(self, session_id: str, session: str) -> None:
        self._json("DELETE", "/v1/sessions/{}", session_id, access={"session": session})

    def end_sessions(self, session: str) -> None:
        self._json("DELETE", "/v1/sessions", access={"session": session})

    def current_customer(self, session: str) -> Customer:
        return self._json("GET", "/v1/customers/current", access={"session": session})

    def open_cart(self, session: str, *, merge: str | None = None) -> Cart:
        """The customer's own cart; `merge` is the id of a cart, such as a guest's, whose items move into it, once."""
        body, access = given(cart=merge), Access(session=session)
        return self._json("POST", "/v1/customers/current/cart", body=body, access=access, repeatable=True)

    def export_customer(self, session: str) -> CustomerExport:
        return self._json("GET", "/v1/customers/current/export", access={"session": session})

    def customer_orders(self, session: str, *, status: OrderStatus | None = None, limit: int = 100) -> Iterator[Order]:
        query, access = {"status": status, "limit": limit}, Access(session=session)
        return self._pages("/v1/customers/current/orders", query, access=access)

    def delete_customer(self, session: str, password: str, *, erase_orders: bool = False) -> None:
        """With `erase_orders` the orders lose the customer's data, too; refused while one is pending or paid."""
        body, access = {"password": password, "erase_orders": erase_orders}, Access(session=session)
        self._json("DELETE", "/v1/customers/current", body=body, access=access, repeatable=False)

    # Webhooks and events.
    def create_webhook_endpoint(self, url: str, events: list[str], *, enabled: bool = True) -> WebhookEndpoint:
        return self._json("POST", "/v1/webhook_endpoints", body={"url": url, "events": events, "enabled": enabled})

    def list_webhook_endpoints(self, *, limit: int = 100) -> Iterator[WebhookEndpoint]:
        return self._pages("/v1/webhook_endpoints", {"limit": limit})

    def get_webhook_endpoint(self, endpoint_id: str) -> WebhookEndpoint:
        return self._json("GET", "/v1/webhook_endpoints/{}", endpoint_id)

    def change_webhook_endpoint(
        self, endpoint_id: str, *, url: str | None = None, events: list[str] | None = None, enabled: bool | None = None
    ) -> WebhookEndpoint:
        body = given(url=url, events=events, enabled=enabled)
        return self._json("PATCH", "/v1/webhook_endpoints/{}", endpoint_id, body=body)

    def delete_webhook_endpoint(self, endpoint_id: str) -> None:
        self._json("DELETE", "/v1/webhook_endpoints/{}", endpoint_id)

    def rotate_webhook_secret(self, endpoint_id: str, *, overlap_hours: int = 24) -> WebhookEndpoint:
        body = {"overlap_hours": overlap_hours}
        return self._json("POST", "/v1/webhook_endpoints/{}/rotate_secret", endpoint_id, body=body)

    def list_events(self, *, limit: int = 100) -> Iterator[Event]:
        return self._pages("/v1/events", {"limit": limit})

    def resend_event(self, event_id: str) -> EventResend:
        return self._json("POST", "/v1/events/{}/resend", event_id)

    def _place(self, path: str, body: Any, key: str | None, access: Access) -> Placed:
        key = key or str(uuid.uuid4())
        data, headers = self._send("POST", path, body=body, key=key, access=access)
        return Placed(data, headers.get("orderworks-order-token"), "idempotent-replayed" in headers, key)
