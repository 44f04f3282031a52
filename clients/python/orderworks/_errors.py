"""Errors of the client."""

from collections.abc import Mapping
from typing import Any


class OrderworksError(Exception):
    """Base of all errors. `idempotency_key` is that of the request, if it had one."""

    idempotency_key: str | None = None


class ConnectionFailed(OrderworksError):
    """No whole answer came: whether the request was carried out is not known."""


class Problem(OrderworksError):
    """The answer was a problem (RFC 9457). `code` is stable; of a proxy's own page it is `http_<status>`.

    `proof_bits`: zero bits that a proof of work has to have, of `proof_of_work_required`.
    """

    def __init__(
        self, status: int, body: Mapping[str, Any], retry_after: float | None, proof_bits: int | None = None
    ) -> None:
        self.status = status
        self.code: str = body.get("code") or f"http_{status}"
        self.title: str = body.get("title") or ""
        self.detail: str = body.get("detail") or ""
        self.request_id: str | None = body.get("request_id")
        self.errors: list[dict[str, str]] = body.get("errors") or []
        self.total_minor: int | None = body.get("total_minor")
        self.retry_after, self.proof_bits = retry_after, proof_bits
        super().__init__(f"{status} {self.code}: {self.detail}")
