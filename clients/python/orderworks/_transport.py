"""Requests and repetitions of the client.

Guarantees: a request is repeated only where that does no harm: reads, replacements, deletions, and what carries an
idempotency key, which stays the same over all repetitions. So an order is one order, however often its answer was lost.
Errors carry the key: a later call with it goes on where this one gave up. A proof of work that an order takes is found
here. A client may be shared by threads. The operations are in `_client.py`.
"""

import http.client
import json
import random
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from ._errors import ConnectionFailed, OrderworksError, Problem
from ._http import is_local, path_of, query_of, read, read_events, retry_after
from ._proof import find_proof
from .types import Access, Event

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


class Transport:
    """Requests with one key."""

    def __init__(
        self, base_url: str, api_key: str, *, timeout: float = 10.0, retries: int = 4, delay_max: float = 30.0,
        proof_bits_max: int = 24, context: ssl.SSLContext | None = None,
    ) -> None:
        base = urllib.parse.urlsplit(base_url)
        if base.hostname is None or not (base.scheme == "https" or base.scheme == "http" and is_local(base.hostname)):
            raise ValueError("base_url must be https, but for this machine: the key would be readable on its way")
        self._host, self._port, self._prefix = base.hostname, base.port, base.path.rstrip("/")
        self._context = (context or ssl.create_default_context()) if base.scheme == "https" else None
        self._headers = {"accept": "application/json", "authorization": f"Bearer {api_key}"}
        self._timeout, self._retries, self._delay_max = timeout, retries, delay_max
        self._proof_bits_max, self._kept = proof_bits_max, threading.local()

    def close(self) -> None:
        """Closes the connection that is kept for this thread; the next request opens another one."""
        kept, self._kept.connection = getattr(self._kept, "connection", None), None
        if kept is not None:
            kept.close()

    def _json(self, method: str, path: str, *ids: str, **options: Any) -> Any:
        return self._send(method, path_of(path, *ids), **options).data

    def _pages(
        self, path: str, query: Mapping[str, Any], *, access: Access | None = None, cursor: str = "{id}"
    ) -> Iterator[Any]:
        """Items of a list, page by page. `cursor`: where a page goes on, in members of the last item before it."""
        after: str | None = None
        while True:
            page = self._send("GET", path + query_of({**query, "starting_after": after}), access=access).data
            yield from page["data"]
            if not page["has_more"]:
                return
            after = cursor.format_map(page["data"][-1])

    def _events(self, path: str, last_event_id: int | None, access: Access) -> Iterator[Event]:
        failures = 0
        while True:
            headers = self._sent(access, accept="text/event-stream")
            if last_event_id is not None:
                headers["last-event-id"] = str(last_event_id)
            connection = self._connect()
            error: OrderworksError | None = None
            try:
                response = self._exchange(connection, "GET", path, None, headers)
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
                error = _failed(cause)
            finally:
                connection.close()
            if error is not None and failures >= self._retries:
                raise error
            delay = self._delay(error, failures)
            time.sleep(self._delay_max if delay is None else delay)
            failures += 1

    def _send(
        self, method: str, path: str, *, body: Any = None, key: str | None = None, access: Access | None = None,
        repeatable: bool | None = None,
    ) -> Answer:
        """Sends a request until it is answered, refused, or out of attempts."""
        if repeatable is None:
            repeatable = method in REPEATABLE_METHODS or key is not None
        headers, attempt, proven = self._sent(access or {}), 0, 0
        if key is not None:
            headers["idempotency-key"] = key
        while True:
            error: OrderworksError
            try:
                return self._attempt(method, path, body, headers, repeatable)
            except Problem as problem:
                # The deletion whose answer was lost.
                if method == "DELETE" and attempt > 0 and problem.status == 404:
                    return Answer(None, {})
                error, bits = problem, problem.proof_bits or 0
            except (OSError, http.client.HTTPException, ValueError) as cause:
                error, bits = _failed(cause), 0
            if key is not None and proven < bits <= self._proof_bits_max:
                headers["orderworks-proof"], proven = find_proof(key, bits), bits
                continue
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

    def _sent(self, access: Access, **more: str) -> dict[str, str]:
        """Header fields of a request; an option such as `order_token` is sent as `orderworks-order-token`."""
        named = {f"orderworks-{name.replace('_', '-')}": value for name, value in access.items()}
        return {**self._headers, **{name: str(value) for name, value in named.items() if value is not None}, **more}

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
        bits = response.getheader("orderworks-proof-bits") or ""
        raise Problem(
            response.status, problem if isinstance(problem, dict) else {},
            retry_after(response.getheader("retry-after")), int(bits) if bits.isdecimal() else None,
        )

    def _delay(self, error: OrderworksError | None, attempt: int) -> float | None:
        """Seconds to wait; None where the server asks for longer than this client waits."""
        asked = error.retry_after or 0.0 if isinstance(error, Problem) else 0.0
        # Half of the delay is random, so that many clients do not come back at once.
        own = DELAY_SECONDS * 2.0**attempt * random.uniform(0.5, 1.0)
        return None if asked > self._delay_max else max(asked, min(own, self._delay_max))


def _failed(cause: Exception) -> ConnectionFailed:
    error = ConnectionFailed(f"no answer: {cause!r}")
    error.__cause__ = cause
    return error


def _may_repeat(error: OrderworksError, repeatable: bool) -> bool:
    """Whether a repetition does no harm. A request that was answered 429 was not begun."""
    if not isinstance(error, Problem):
        return repeatable
    if error.status == 409:
        # In flight under the same key, or a cart that others change.
        return repeatable and error.retry_after is not None
    return error.status == 429 or repeatable and error.status in RETRIED_STATUSES
