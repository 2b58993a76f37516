"""One exchange under one deadline: resolve → guard → connect → send → read → an Outcome."""

import ssl
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from ..rules.failures import Failure

ANSWER_LIMIT = 102_400  # bytes of an answer's body; past it the exchange has failed


class Names(Protocol):
    """What the sender needs of a resolver; the seam for tests."""

    async def resolve(self, host: str) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, and where. `head` runs from the request line to the empty line."""

    method: str
    scheme: str
    host: str
    port: int
    head: bytes
    body: bytes = b""


@dataclass(slots=True)
class Outcome:
    """How an exchange went. `failure` is None for a 2xx answer alone; times are milliseconds."""

    started_at: datetime
    duration_ms: int = 0
    dns_ms: int | None = None
    connect_ms: int | None = None
    tls_ms: int | None = None
    wait_ms: int | None = None
    read_ms: int | None = None
    address: str = ""  # "ip:port", once connected
    status: int | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)  # lower-case names
    body: bytes = b""  # at most ANSWER_LIMIT
    failure: Failure | None = None
    retry_after: float | None = None  # seconds, 0 to 86,400


class Sender:
    """The one door out: every exchange of every kind passes it."""

    def __init__(
        self, resolver: Names | None = None, *, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self._resolver = resolver

    async def send(self, request: Request, *, timeout: float) -> Outcome:
        """Send `request`; `timeout` seconds cover everything. Raises nothing but CancelledError."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close the kept lines."""
        raise NotImplementedError
