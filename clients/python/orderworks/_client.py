"""Requests and repetitions of the client.

Guarantees: a request is repeated only where that does no harm: reads, replacements, deletions, and what carries an
idempotency key, which stays the same over all repetitions. So an order is one order, however often its answer was lost.
Errors carry the key: a later call with it goes on where this one gave up. A client may be shared by threads.
"""

import http.client
import json
import random
import ssl
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, Unpack

from ._errors import ConnectionFailed, OrderworksError, Problem
from ._http import is_local, path_of, read, read_events, retry_after
from .types import (
    Access, Address, Cart, Category, Checkout, Customer, CustomerExport, Event, EventResend, Inventory, Item,
    LiveSession, Order, OrderCreate, OrderStatus, Payment, Placed, Product, ProductFacets, ProductFilter, ProductPut,
    ProductSort, Quote, Refund, Requested, Session, Timeline, WaitingRoom, WebhookEndpoint,
)

RETRIED_STATUSES: Final = frozenset({408, 429, 500, 502, 503, 504})
REPEATABLE_METHODS: Final = frozenset({"GET", "PUT", "DELETE"})
DELAY_SECONDS: Final = 0.2
"""First delay of the backoff; doubled with each attempt."""
IDLE_SECONDS_MAX: Final = 15.0
"""A connection that was idle for longer is not used again: servers and proxies close them after a minute or so."""
STREAM_SILENCE_SECONDS: Final = 40.0
"""A stream has a comment every 15 seconds; one that is silent for longer than this has been cut."""


class Answer(NamedTuple):
    data: Any
    headers: Mapping[str, str]


class Orderworks:
    """The order API with one key: publishable in what customers hold in their hands, secret on servers only."""

    def __init__(
        self, base_url: str, api_key: str, *, timeout: float = 10.0, retries: int = 4, delay_max: float = 30.0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        base = urllib.parse.urlsplit(base_url)
        if base.hostname is None or not (base.scheme == "https" or base.scheme == "http" and is_local(base.hostname)):
            raise ValueError("base_url must be https, but for this machine: the key would be readable on its way")
        self._host, self._port, self._prefix = base.hostname, base.port, base.path.rstrip("/")
        self._context = (context or ssl.create_default_context()) if base.scheme == "https" else None
        self._headers = {"accept": "application/json", "authorization": f"Bearer {api_key}"}
        self._timeout, self._retries, self._delay_max = timeout, retries, delay_max
        self._kept = threading.local()

    def close(self) -> None:
        """Closes the connection that is kept for this thread; the next request opens another one."""
        kept, self._kept.connection = getattr(self._kept, "connection", None), None
        if kept is not None:
            kept.close()

    # Orders.
    def place_order(
        self, order: OrderCreate, *, idempotency_key: str | None = None, **access: Unpack[Access]
    ) -> Placed:
        return self._place("/v1/orders", order, idempotency_key, access)

    def get_order(self, order_id: str, **access: Unpack[Access]) -> Order:
        return self._json("GET", path_of("/v1/orders/{}", order_id), access=access)

    def list_orders(self, *, status: OrderStatus | None = None, limit: int = 100) -> Iterator[Order]:
        return self._pages("/v1/orders", {"status": status, "limit": limit})

    def order_timeline(self, order_id: str, **access: Unpack[Access]) -> Timeline:
        return self._json("GET", path_of("/v1/orders/{}/timeline", order_id), access=access)

    def cancel_order(self, order_id: str, *, reason: str | None = None, **access: Unpack[Access]) -> Order:
        """May be repeated: an order is cancelled once."""
        body = {} if reason is None else {"reason": reason}
        return self._json("POST", path_of("/v1/orders/{}/cancel", order_id), body, access=access, repeatable=True)

    def refund_order(
        self, order_id: str, *, amount_minor: int | None = None, reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Refund:
        given = (("amount_minor", amount_minor), ("reason", reason))
        body = {name: value for name, value in given if value is not None}
        path, key = path_of("/v1/orders/{}/refund", order_id), idempotency_key or str(uuid.uuid4())
        return self._json("POST", path, body, key=key)

    def revoke_order_token(self, order_id: str) -> None:
        self._json("DELETE", path_of("/v1/orders/{}/token", order_id))

    def list_payments(self, *, day: str | None = None, limit: int = 100) -> Iterator[Payment]:
        return self._pages("/v1/payments", {"day": day, "limit": limit})

    def waiting_room(self, **access: Unpack[Access]) -> WaitingRoom:
        return self._json("GET", "/v1/waiting_room", access=access)

    # Carts.
    def create_cart(
        self, *, currency: str | None = None, items: list[Item] | None = None, **access: Unpack[Access]
    ) -> Cart:
        body = {name: value for name, value in (("currency", currency), ("items", items)) if value is not None}
        return self._json("POST", "/v1/carts", body, access=access)

    def get_cart(self, cart_id: str, **access: Unpack[Access]) -> Cart:
        return self._json("GET", path_of("/v1/carts/{}", cart_id), access=access)

    def set_cart_item(self, cart_id: str, sku: str, quantity: int, **access: Unpack[Access]) -> Cart:
        """Quantity 0 removes the product. In a session the answer may have another id: go on with that one."""
        return self._json("PUT", path_of("/v1/carts/{}/items/{}", cart_id, sku), {"quantity": quantity}, access=access)

    def quote_cart(
        self, cart_id: str, *, shipping_address: Address | None = None, **access: Unpack[Access]
    ) -> Quote:
        """What an order comes to now; its total is the `expected_total_minor` of the checkout."""
        body = {} if shipping_address is None else {"shipping_address": shipping_address}
        return self._json("POST", path_of("/v1/carts/{}/quote", cart_id), body, access=access, repeatable=True)

    def reserve_cart(self, cart_id: str, **access: Unpack[Access]) -> Cart:
        """All items, or none, for shops that reserve. May be repeated, which does not move the end."""
        return self._json("POST", path_of("/v1/carts/{}/reservation", cart_id), access=access, repeatable=True)

    def release_cart(self, cart_id: str, **access: Unpack[Access]) -> Cart:
        return self._json("DELETE", path_of("/v1/carts/{}/reservation", cart_id), access=access)

    def checkout(
        self, cart_id: str, checkout: Checkout, *, idempotency_key: str | None = None, **access: Unpack[Access]
    ) -> Placed:
        return self._place(path_of("/v1/carts/{}/checkout", cart_id), checkout, idempotency_key, access)

    # Catalog.
    def list_products(
        self, *, sort: ProductSort | None = None, limit: int = 100, **chosen: Unpack[ProductFilter]
    ) -> Iterator[Product]:
        return self._pages("/v1/products", {**chosen, "sort": sort, "limit": limit}, cursor="sku")

    def product_facets(self, **chosen: Unpack[ProductFilter]) -> ProductFacets:
        return self._json("GET", f"/v1/product_facets?{urllib.parse.urlencode(_texts(chosen))}")

    def get_product(self, sku: str) -> Product:
        return self._json("GET", path_of("/v1/products/{}", sku))

    def put_product(self, sku: str, product: ProductPut) -> Product:
        return self._json("PUT", path_of("/v1/products/{}", sku), product)

    def list_categories(self) -> list[Category]:
        return self._json("GET", "/v1/categories")["data"]

    def get_inventory(self, sku: str) -> Inventory:
        return self._json("GET", path_of("/v1/inventory/{}", sku))

    def set_inventory(self, sku: str, on_hand: int) -> Inventory:
        return self._json("PUT", path_of("/v1/inventory/{}", sku), {"on_hand": on_hand})

    # Customers and their sessions.
    def register(self, email: str, name: str, password: str, *, idempotency_key: str | None = None) -> Requested:
        body, key = {"email": email, "name": name, "password": password}, idempotency_key or str(uuid.uuid4())
        return self._json("POST", "/v1/customers", body, key=key)

    def verify_address(self, token: str, password: str) -> Customer:
        return self._json("POST", "/v1/customers/verify", {"token": token, "password": password})

    def request_password_reset(self, email: str) -> Requested:
        return self._json("POST", "/v1/customers/password_reset", {"email": email})

    def confirm_password_reset(self, token: str, password: str) -> None:
        self._json("POST", "/v1/customers/password_reset/confirm", {"token": token, "password": password})

    def sign_in(self, email: str, password: str) -> Session:
        return self._json("POST", "/v1/sessions", {"email": email, "password": password})

    def sign_out(self, session: str) -> None:
        self._json("DELETE", "/v1/sessions/current", access={"session": session})

    def list_sessions(self, session: str) -> list[LiveSession]:
        return self._json("GET", "/v1/sessions", access={"session": session})["data"]

    def end_session(self, session_id: str, session: str) -> None:
        self._json("DELETE", path_of("/v1/sessions/{}", session_id), access={"session": session})

    def end_sessions(self, session: str) -> None:
        self._json("DELETE", "/v1/sessions", access={"session": session})

    def current_customer(self, session: str) -> Customer:
        return self._json("GET", "/v1/customers/current", access={"session": session})

    def open_cart(self, session: str, *, merge: str | None = None) -> Cart:
        """The customer's own cart; `merge` is the id of a cart, such as a guest's, whose items move into it, once."""
        body, access = {} if merge is None else {"cart": merge}, Access(session=session)
        return self._json("POST", "/v1/customers/current/cart", body, access=access, repeatable=True)

    def export_customer(self, session: str) -> CustomerExport:
        return self._json("GET", "/v1/customers/current/export", access={"session": session})

    def customer_orders(self, session: str, *, status: OrderStatus | None = None, limit: int = 100) -> Iterator[Order]:
        query = {"status": status, "limit": limit}
        return self._pages("/v1/customers/current/orders", query, access={"session": session})

    def delete_customer(self, session: str, password: str) -> None:
        body, access = {"password": password}, Access(session=session)
        self._json("DELETE", "/v1/customers/current", body, access=access, repeatable=False)

    # Webhooks and events.
    def create_webhook_endpoint(self, url: str, events: list[str], *, enabled: bool = True) -> WebhookEndpoint:
        body = {"url": url, "events": events, "enabled": enabled}
        return self._json("POST", "/v1/webhook_endpoints", body)

    def list_webhook_endpoints(self, *, limit: int = 100) -> Iterator[WebhookEndpoint]:
        return self._pages("/v1/webhook_endpoints", {"limit": limit})

    def get_webhook_endpoint(self, endpoint_id: str) -> WebhookEndpoint:
        return self._json("GET", path_of("/v1/webhook_endpoints/{}", endpoint_id))

    def change_webhook_endpoint(
        self, endpoint_id: str, *, url: str | None = None, events: list[str] | None = None, enabled: bool | None = None
    ) -> WebhookEndpoint:
        given = (("url", url), ("events", events), ("enabled", enabled))
        body = {name: value for name, value in given if value is not None}
        return self._json("PATCH", path_of("/v1/webhook_endpoints/{}", endpoint_id), body)

    def delete_webhook_endpoint(self, endpoint_id: str) -> None:
        self._json("DELETE", path_of("/v1/webhook_endpoints/{}", endpoint_id))

    def rotate_webhook_secret(self, endpoint_id: str, *, overlap_hours: int = 24) -> WebhookEndpoint:
        body = {"overlap_hours": overlap_hours}
        return self._json("POST", path_of("/v1/webhook_endpoints/{}/rotate_secret", endpoint_id), body)

    def list_events(self, *, limit: int = 100) -> Iterator[Event]:
        return self._pages("/v1/events", {"limit": limit})

    def resend_event(self, event_id: str) -> EventResend:
        return self._json("POST", path_of("/v1/events/{}/resend", event_id))

    def order_events(
        self, order_id: str, *, last_event_id: int | None = None, **access: Unpack[Access]
    ) -> Iterator[Event]:
        """Events of an order, past ones first; reconnects where the stream is cut, and never ends by itself."""
        path, failures = path_of("/v1/orders/{}/events", order_id), 0
        while True:
            headers = {"accept": "text/event-stream"}
            if last_event_id is not None:
                headers["last-event-id"] = str(last_event_id)
            connection = self._connect()
            error: OrderworksError | None = None
            try:
                response = self._exchange(connection, "GET", path, None, self._sent(access, None, headers))
                if connection.sock is not None:
                    connection.sock.settimeout(STREAM_SILENCE_SECONDS)
                for event in read_events(response):
                    last_event_id, failures = event["sequence"], 0
                    yield event
            except Problem as problem:
                if problem.status not in RETRIED_STATUSES:
                    raise
                error = problem
            except (OSError, http.client.HTTPException, ValueError) as cause:
                error = _failed(cause, None)
            finally:
                connection.close()
            if error is not None and failures >= self._retries:
                raise error
            delay = self._delay(error, failures)
            time.sleep(self._delay_max if delay is None else delay)
            failures += 1

    def _place(self, path: str, body: Any, key: str | None, access: Access) -> Placed:
        key = key or str(uuid.uuid4())
        data, headers = self._send("POST", path, body, key=key, access=access)
        return Placed(data, headers.get("orderworks-order-token"), "idempotent-replayed" in headers, key)

    def _json(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        return self._send(method, path, body, **options).data

    def _pages(
        self, path: str, query: dict[str, Any], *, access: Access | None = None, cursor: str = "id"
    ) -> Iterator[Any]:
        given = _texts(query)
        while True:
            page = self._json("GET", f"{path}?{urllib.parse.urlencode(given)}", access=access)
            yield from page["data"]
            if not page["has_more"]:
                return
            given["starting_after"] = page["data"][-1][cursor]

    def _send(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, access: Access | None = None,
        repeatable: bool | None = None,
    ) -> Answer:
        """Sends a request until it is answered, refused, or out of attempts."""
        if repeatable is None:
            repeatable = method in REPEATABLE_METHODS or key is not None
        headers, attempt = self._sent(access or {}, key, {}), 0
        while True:
            error: OrderworksError
            try:
                return self._attempt(method, path, body, headers, repeatable)
            except Problem as problem:
                error = problem
                # The deletion whose answer was lost.
                if method == "DELETE" and attempt > 0 and problem.status == 404:
                    return Answer(None, {})
            except (OSError, http.client.HTTPException, ValueError) as cause:
                error = _failed(cause, key)
            error.idempotency_key = key
            delay = self._delay(error, attempt)
            if delay is None or attempt >= self._retries or not _may_repeat(error, repeatable):
                raise error
            time.sleep(delay)
            attempt += 1

    def _attempt(self, method: str, path: str, body: Any, headers: dict[str, str], repeatable: bool) -> Answer:
        kept, until = getattr(self._kept, "connection", None), getattr(self._kept, "until", 0.0)
        # The server may close a kept connection at any moment: what must not be repeated takes a new one.
        connection = kept if kept is not None and repeatable and time.monotonic() < until else self._connect()
        self._kept.connection = None
        if kept is not None and connection is not kept:
            kept.close()
        try:
            deadline = time.monotonic() + self._timeout
            response = self._exchange(connection, method, path, body, headers)
            text = read(response, connection, deadline)
            data = json.loads(text) if text else None
        except BaseException:
            connection.close()
            raise
        if connection.sock is None:
            connection.close()
        else:
            self._kept.connection, self._kept.until = connection, time.monotonic() + IDLE_SECONDS_MAX
        return Answer(data, {name.lower(): value for name, value in response.getheaders()})

    def _connect(self) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._context)

    def _sent(self, access: Access, key: str | None, more: dict[str, str]) -> dict[str, str]:
        named = {"idempotency-key": key, "orderworks-session": access.get("session")}
        named |= {"orderworks-order-token": access.get("order_token"), "orderworks-place": access.get("place")}
        return {**self._headers, **{name: value for name, value in named.items() if value is not None}, **more}

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        """One request. Redirects are not followed: they would take the key elsewhere."""
        content = None if body is None else json.dumps(body).encode()
        if content is not None:
            headers = {**headers, "content-type": "application/json"}
        connection.timeout = self._timeout
        connection.request(method, self._prefix + path, content, headers)
        if connection.sock is not None:
            connection.sock.settimeout(self._timeout)
        response = connection.getresponse()
        if 200 <= response.status < 300:
            return response
        text = read(response, connection, time.monotonic() + self._timeout)
        try:
            problem = json.loads(text)
        except ValueError:
            problem = {}
        body = problem if isinstance(problem, dict) else {}
        raise Problem(response.status, body, retry_after(response.getheader("retry-after")))

    def _delay(self, error: OrderworksError | None, attempt: int) -> float | None:
        """Seconds to wait; None where the server asks for longer than this client waits."""
        asked = error.retry_after or 0.0 if isinstance(error, Problem) else 0.0
        # Half of the delay is random, so that many clients do not come back at once.
        own = DELAY_SECONDS * 2.0**attempt * random.uniform(0.5, 1.0)
        return None if asked > self._delay_max else max(asked, min(own, self._delay_max))


def _texts(query: Mapping[str, Any]) -> dict[str, str]:
    """The parameters that are given, as in an address."""
    given = {name: value for name, value in query.items() if value is not None}
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}


def _failed(cause: Exception, key: str | None) -> ConnectionFailed:
    error = ConnectionFailed(f"no answer: {cause!r}")
    error.idempotency_key, error.__cause__ = key, cause
    return error


def _may_repeat(error: OrderworksError, repeatable: bool) -> bool:
    """Whether a repetition does no harm. A request that was answered 429 was not begun."""
    if not isinstance(error, Problem):
        return repeatable
    if error.status == 409:
        # In flight under the same key, or a cart that others change.
        return repeatable and error.retry_after is not None
    return error.status == 429 or repeatable and error.status in RETRIED_STATUSES
