"""Verification of webhooks by Standard Webhooks 1.0."""

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from typing import cast

from .types import Event

TOLERANCE_SECONDS = 300


class WebhookRefused(ValueError):
    """The webhook was not signed with the secret, or too long ago."""


def verify_webhook(
    body: bytes, headers: Mapping[str, str], secrets: str | Sequence[str], *, now: float | None = None
) -> Event:
    """The event of a webhook. `body` is what arrived, not what was parsed; several secrets while one is replaced."""
    fields = {name.lower(): value for name, value in headers.items()}
    identity, timestamp = fields.get("webhook-id", ""), fields.get("webhook-timestamp", "")
    if not identity or not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise WebhookRefused("header fields are missing")
    if abs((time.time() if now is None else now) - int(timestamp)) > TOLERANCE_SECONDS:
        raise WebhookRefused("the timestamp is too old or too new")
    signed = f"{identity}.{timestamp}.".encode() + body
    given = [text[3:] for text in fields.get("webhook-signature", "").split(" ") if text.startswith("v1,")]
    for secret in [secrets] if isinstance(secrets, str) else secrets:
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error as error:
            raise WebhookRefused("a secret is not whsec_ and base64") from error
        expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        if any(hmac.compare_digest(expected.encode(), text.encode()) for text in given):
            return cast(Event, json.loads(body))
    raise WebhookRefused("no signature matches")
