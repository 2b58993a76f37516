"""What is asked of the sender, and what came of it: a Request and its Outcome."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from ...rules.failures import Failure
from .connection import Origin
from .tls import Tls


@dataclass(slots=True)
class Request:
    """What is sent, and where. `head` runs from the request line to the empty line."""

    method: str
    scheme: str
    host: str
    port: int
    account: int  # whose call it is: connections are kept for each by itself
    head: bytes = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    tls: Tls | None = None  # certificate and authorities of the webhook's own
    access: "TokenCall | None" = None  # an access token goes along, which this call brings
    # For the Outcome alone:
    secrets: tuple[str, ...] = field(default=(), repr=False)
    rotated: bool = False

    @property
    def origin(self) -> Origin:
        own = "" if self.tls is None else self.tls.key
        return (self.account, self.scheme, self.host, self.port, own)

    def bearing(self, access_token: str) -> "Request":
        """The same with an access token in place of the call that asks for one (RFC 6750)."""
        line = f"Authorization: Bearer {access_token}\r\n\r\n".encode("ascii")
        return replace(
            self, head=self.head[:-2] + line, access=None, secrets=(*self.secrets, access_token)
        )


@dataclass(frozen=True, slots=True)
class TokenCall:
    """How a webhook, in one version, gets an access token from its authorization server."""

    webhook_id: str
    version: int
    url: str  # as the history keeps it
    request: Request = field(repr=False)


@dataclass(slots=True)
class Outcome:
    """How an exchange went. `failure` is None for a complete 2xx answer alone.

    Phases are milliseconds, None when they did not happen: on a kept connection there is no dns,
    connect or tls; for an address there is no dns. A phase that failed shows how long it took to.
    """

    started_at: datetime
    duration_ms: int = 0
    dns_ms: int | None = None
    connect_ms: int | None = None
    tls_ms: int | None = None
    wait_ms: int | None = None  # from the request to the first byte of the answer
    read_ms: int | None = None  # from there to its end
    address: str = ""  # "ip:port" that was called; "" when none was
    tls_version: str | None = None  # of the connection that was used, kept ones too: "TLSv1.3"
    status: int | None = None
    raw_headers: list[tuple[bytes, bytes]] = field(default_factory=list, repr=False)
    body: bytes = field(default=b"", repr=False)  # at most ANSWER_LIMIT, as it came
    failure: Failure | None = None
    retry_after: float | None = None  # seconds, 0 to RETRY_AFTER_LIMIT
    certificate_ends_at: datetime | None = None  # the receiver's, when there was a TLS handshake
    secrets: tuple[str, ...] = field(default=(), repr=False)  # masked in what is kept of it
    rotated: bool = False  # the signing secret is new: that may be why the receiver refuses
    asked: "Asked | None" = None  # the call for an access token that was made for it
    waited_ms: int = 0  # for a token, before it began

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Of the answer; names in lower case, latin-1."""
        return [(n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in self.raw_headers]

    @property
    def our_fault(self) -> bool:
        """A fault of this process, no word about the receiver: never recorded as a failure."""
        return self.failure is not None and self.failure.kind == "internal"


@dataclass(frozen=True, slots=True)
class Asked:
    """A call for an access token, as it went. Of its answer nothing is left but the status."""

    webhook_id: str
    url: str
    outcome: Outcome
    ended: float  # monotonic seconds
