"""Client of the Orderworks order API; the standard library only. See the README for examples."""

from ._client import Orderworks
from ._errors import ConnectionFailed, OrderworksError, Problem
from ._webhooks import WebhookRefused, verify_webhook
from .types import Placed

__all__ = [
    "ConnectionFailed",
    "Orderworks",
    "OrderworksError",
    "Placed",
    "Problem",
    "WebhookRefused",
    "verify_webhook",
]
