"""What the client needs of HTTP beside the standard library: bounded bodies, event streams, addresses, Retry-After."""

import datetime
import email.utils
import http.client
import ipaddress
import json
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any, Final

from .types import Event

BODY_BYTES_MAX: Final = 16 * 1024 * 1024


def is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def path_of(template: str, *values: str) -> str:
    """Fills a path; a value stays within its segment."""
    if any(value in ("", ".", "..") for value in values):
        raise ValueError("an id is empty")
    return template.format(*(urllib.parse.quote(value, safe="") for value in values))


def given(**members: Any) -> dict[str, Any]:
    """The members that are given."""
    return {name: value for name, value in members.items() if value is not None}


def query_of(parameters: Mapping[str, Any]) -> str:
    """The parameters that are given, as the end of an address."""
    flags = {name: str(value).lower() for name, value in parameters.items() if isinstance(value, bool)}
    return "?" + urllib.parse.urlencode(given(**parameters) | flags)


def read(response: http.client.HTTPResponse, connection: http.client.HTTPConnection, deadline: float) -> bytes:
    parts, size = [], 0
    while part := response.read1(65536):
        size += len(part)
        if size > BODY_BYTES_MAX or time.monotonic() > deadline:
            raise http.client.HTTPException("the answer is too long or too slow")
        if connection.sock is not None:
            connection.sock.settimeout(max(0.001, deadline - time.monotonic()))
        parts.append(part)
    if response.length:
        raise http.client.IncompleteRead(b"".join(parts), response.length)
    # Else the connection would take no other request: `read1` does not notice the end.
    response.close()
    return b"".join(parts)


def retry_after(text: str | None) -> float | None:
    """Seconds, from a number or a date."""
    if text is None or text.isdigit():
        return None if text is None else float(text)
    try:
        at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (at - datetime.datetime.now(at.tzinfo)).total_seconds())


def read_events(response: http.client.HTTPResponse) -> Iterator[Event]:
    data: list[str] = []
    while line := response.readline(1024 * 1024):
        text = line.decode().rstrip("\r\n")
        if text.startswith("data:"):
            data.append(text[5:].lstrip())
        elif not text and data:
            yield json.loads("\n".join(data))
            data = []
