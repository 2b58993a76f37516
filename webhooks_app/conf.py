"""The settings of the app, from `django.conf.settings`; the only reader.

    from .conf import settings

    settings.timeout  # 10.0

A changed setting holds at once where Django tells of it (`setting_changed`, as in tests).

Every value may come as text (from the environment) or in its own type. An unreadable one raises
`ImproperlyConfigured` with a sentence that names it; `validate()` reads them all at start.
"""

import base64
import hashlib
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, Self, TypedDict, TypeVar, overload
from urllib.parse import unquote, urlsplit

from django.conf import settings as of_django
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _number(low: float, high: float) -> Callable[[Any], float]:
    def read(raw: Any) -> float:
        value = float(raw)
        if isinstance(raw, bool) or not low <= value <= high:
            raise ValueError(f"it must be a number from {low:g} to {high:g}")
        return value

    return read


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def read(raw: Any) -> int:
        value = int(raw)
        if isinstance(raw, bool) or value != float(raw) or not low <= value <= high:
            raise ValueError(f"it must be a whole number from {low} to {high}")
        return value

    return read


def _days(raw: Any) -> timedelta:
    return timedelta(days=_whole(1, 36_500)(raw))


def _flag(raw: Any) -> bool:
    words = {"true": True, "on": True, "yes": True, "1": True}
    words |= {"false": False, "off": False, "no": False, "0": False, "": False}
    if isinstance(raw, bool):
        return raw
    try:
        return words[str(raw).strip().lower()]
    except KeyError:
        raise ValueError("it must be true or false") from None


V = TypeVar("V")


def _choice(**allowed: V) -> Callable[[Any], V]:
    def read(raw: Any) -> V:
        if raw not in allowed:
            raise ValueError(f"it must be one of: {', '.join(allowed)}")
        return allowed[raw]

    return read


def _items(raw: Any) -> list[Any]:
    if isinstance(raw, str):
        return [part.strip() for part in raw.split(",") if part.strip()]
    return list(raw)


def _schedule(raw: Any) -> tuple[float, ...]:
    delays = tuple(float(part) for part in _items(raw))
    if len(delays) > 30 or any(not 0 <= delay <= 7 * 86400 for delay in delays):
        raise ValueError("it must be at most 30 delays in seconds, none over 7 days")
    return delays


def _networks(raw: Any) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(str(part)) for part in _items(raw))


def _keys(raw: Any) -> tuple[str, ...]:
    keys = tuple(str(part) for part in _items(raw))
    for key in keys:
        try:
            good = len(base64.urlsafe_b64decode(key)) == 32
        except ValueError:
            good = False
        if not good:
            raise ValueError("each key must be 32 bytes in URL-safe base64 (a Fernet key)")
    return keys


def _addresses(raw: Any) -> tuple[str, ...]:
    addresses = tuple(str(part) for part in _items(raw))
    for address in addresses:
        name, at, host = address.partition("@")
        if not (name and at and host) or any(sign.isspace() for sign in address):
            raise ValueError("it must be email addresses")
    return addresses


def _address(raw: Any) -> str:
    return str(ipaddress.ip_address(str(raw).strip()))


def _token(raw: Any) -> str:
    token = str(raw).strip()
    if len(token) > 1000 or not all("!" <= sign <= "~" for sign in token):
        raise ValueError("it must be at most 1,000 characters of ASCII without spaces")
    return token


def _ports(raw: Any) -> frozenset[int]:
    ports = frozenset(int(part) for part in _items([raw] if isinstance(raw, int) else raw))
    if not all(1 <= port <= 65535 for port in ports):
        raise ValueError("it must be ports from 1 to 65535")
    return ports


@dataclass(frozen=True, slots=True)
class Proxy:
    """The egress proxy; `authorization` is the value of Proxy-Authorization, "" for none."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)


def _proxy(raw: Any) -> Proxy | None:
    if not raw:
        return None
    wrong = ValueError("it must look like http://user:password@host:3128 (http only)")
    try:
        parts = urlsplit(str(raw))
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme != "http" or not host or not port or parts.path.strip("/") or parts.query:
        raise wrong
    if parts.username is None:
        return Proxy(host, port)
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return Proxy(host, port, "Basic " + base64.b64encode(pair).decode("ascii"))


def _egress(raw: Any) -> tuple[str, ...]:
    """As a receiver's owner is told them."""
    return tuple(
        str(network.network_address if network.num_addresses == 1 else network)
        for network in _networks(raw)
    )


def _console(raw: Any) -> str:
    return f"{str(raw).rstrip('/')}/" if raw else ""


class Setting(Generic[V]):
    """One setting: how Django names it, its default, how it is read, what it means (with its
    unit), its Python type there. As an attribute of `Settings`: its value, read once."""

    def __init__(
        self,
        name: str,
        default: Any,
        read: Callable[[Any], V],
        meaning: str,
        type: str = "str",
    ) -> None:
        self.name, self.default, self.read = name, default, read
        self.meaning, self.type = meaning, type

    def __set_name__(self, owner: type, attribute: str) -> None:
        self.attribute = attribute

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> V: ...
    def __get__(self, instance: object | None, owner: type) -> Self | V:
        if instance is None:
            return self
        raw = getattr(of_django, self.name, self.default)
        try:
            value = self.read(raw)
        except (ValueError, TypeError) as error:
            # The value itself stays out of the sentence: it may be a key.
            raise ImproperlyConfigured(
                f"{self.name} ({self.meaning}) cannot be read: {_reason(error)}"
            ) from None
        # Found there from now on: a look at Django's lazy settings costs a µs, and a delivery
        # needs several.
        vars(instance)[self.attribute] = value
        return value


def _reason(error: Exception) -> str:
    text = str(error)
    return text if text.startswith(("it must", "each key must")) else "it has the wrong form"


class UrlRules(TypedDict):
    allowed: tuple[Network, ...]
    require_https: bool
    ports: frozenset[int]


class Settings:
    given_keys = Setting(
        "WEBHOOKS_ENCRYPTION_KEYS",
        (),
        _keys,
        "Fernet keys, comma-separated; the first encrypts, all decrypt",
        "list[str]",
    )
    verification_required = Setting(
        "WEBHOOKS_VERIFICATION",
        "required",
        _choice(required=True, off=False),
        "whether a webhook must pass the challenge",
    )
    # From before the look-up of the name to the last byte.
    timeout = Setting(
        "WEBHOOKS_TIMEOUT", 10.0, _number(0.1, 60), "seconds for a whole exchange", "float"
    )
    # There is one more try than delays.
    retry_schedule = Setting(
        "WEBHOOKS_RETRY_SCHEDULE",
        (5, 300, 1800, 7200, 18000, 36000, 36000),
        _schedule,
        "seconds to wait after each failure, comma-separated",
        "list[float]",
    )
    concurrency = Setting(
        "WEBHOOKS_CONCURRENCY", 100, _whole(1, 10_000), "exchanges in flight a process", "int"
    )
    allowed_networks = Setting(
        "WEBHOOKS_ALLOWED_NETWORKS",
        (),
        _networks,
        "CIDRs that may be reached although not public, comma-separated",
        "list[str]",
    )
    allowed_ports = Setting(
        "WEBHOOKS_ALLOWED_PORTS",
        (),
        _ports,
        "ports that may be called, comma-separated; empty: any",
        "list[int]",
    )
    proxy = Setting(
        "WEBHOOKS_PROXY",
        "",
        _proxy,
        "egress proxy, http://user:password@host:port; empty: none",
    )
    require_https = Setting("WEBHOOKS_REQUIRE_HTTPS", False, _flag, "refuse http URLs", "bool")
    retention = Setting(
        "WEBHOOKS_RETENTION_DAYS",
        30,
        _days,
        "days that finished deliveries and their attempts are kept",
        "int",
    )
    job_retention = Setting(
        "WEBHOOKS_JOB_RETENTION_DAYS",
        90,
        _days,
        "days that jobs are kept after they ended",
        "int",
    )
    audit_retention = Setting(
        "WEBHOOKS_AUDIT_RETENTION_DAYS",
        730,
        _days,
        "days that the audit log goes back",
        "int",
    )
    trusted_proxies = Setting(
        "WEBHOOKS_TRUSTED_PROXIES",
        0,
        _whole(0, 10),
        "proxies of our own whose X-Forwarded-For is believed",
        "int",
    )
    rate_per_token = Setting(
        "WEBHOOKS_RATE_PER_TOKEN",
        60_000,
        _whole(0, 10**9),
        "API requests a minute with one token; 0: any number",
        "int",
    )
    rate_per_address = Setting(
        "WEBHOOKS_RATE_PER_ADDRESS",
        120_000,
        _whole(0, 10**9),
        "API requests a minute from one address; 0: any number",
        "int",
    )
    failed_authentications = Setting(
        "WEBHOOKS_FAILED_AUTHENTICATIONS",
        100,
        _whole(0, 10**9),
        "wrong tokens in 15 minutes from one address; 0: any number",
        "int",
    )
    webhooks_per_account = Setting(
        "WEBHOOKS_PER_ACCOUNT",
        100_000,
        _whole(0, 10**9),
        "webhooks that an account may have; 0: any number",
        "int",
    )
    tokens_per_account = Setting(
        "WEBHOOKS_TOKENS_PER_ACCOUNT",
        1000,
        _whole(0, 10**9),
        "access tokens that an account may have, those that hold; 0: any number",
        "int",
    )
    egress_addresses = Setting(
        "WEBHOOKS_EGRESS_ADDRESSES",
        (),
        _egress,
        "addresses we call from, comma-separated; shown beside connect failures",
        "list[str]",
    )
    notice_emails = Setting(
        "WEBHOOKS_NOTICE_EMAILS",
        (),
        _addresses,
        "who of the staff hears by email of webhooks that fail, comma-separated",
        "list[str]",
    )
    # With a slash at its end; `""`: no links.
    console_url = Setting(
        "WEBHOOKS_CONSOLE_URL",
        "",
        _console,
        "address of the admin, as https://host/admin/, for links in notices",
    )
    metrics_token = Setting(
        "WEBHOOKS_METRICS_TOKEN", "", _token, "bearer token of /metrics; empty closes it"
    )
    event_types_declared = Setting(
        "WEBHOOKS_EVENT_TYPES",
        "open",
        _choice(open=False, declared=True),
        "whether events may have any type, or only those of the catalogue",
    )
    cloudevents_source = Setting(
        "WEBHOOKS_CLOUDEVENTS_SOURCE",
        "",
        _token,
        "source of CloudEvents, a URI; empty: /accounts/<name>",
    )
    metrics_port = Setting(
        "WEBHOOKS_METRICS_PORT",
        0,
        _whole(0, 65535),
        "first port on which processes tell their own metrics; 0: none",
        "int",
    )
    metrics_address = Setting(
        "WEBHOOKS_METRICS_ADDRESS",
        "127.0.0.1",
        _address,
        "address of those ports; 0.0.0.0: all of this machine",
    )

    @property
    def encryption_keys(self) -> tuple[str, ...]:
        """Fernet keys, newest first. Under DEBUG without keys one is derived from SECRET_KEY.

        Raises ImproperlyConfigured outside DEBUG when there is none.
        """
        if keys := self.given_keys:
            return keys
        if of_django.DEBUG:
            secret = b"webhooks encryption " + of_django.SECRET_KEY.encode()
            return (base64.urlsafe_b64encode(hashlib.sha256(secret).digest()).decode(),)
        raise ImproperlyConfigured(
            "WEBHOOKS_ENCRYPTION_KEYS is not set: tokens, passwords and header values are stored "
            "encrypted and need at least one Fernet key (outside DEBUG there is no default)."
        )

    @property
    def url_rules(self) -> UrlRules:
        """What `rules.validators` must know of the settings to judge a URL."""
        return UrlRules(
            allowed=self.allowed_networks,
            require_https=self.require_https,
            ports=self.allowed_ports,
        )


settings = Settings()
SETTINGS: dict[str, Setting[Any]] = {
    one.name: one for one in vars(Settings).values() if isinstance(one, Setting)
}


@receiver(setting_changed)
def _changed(*, setting: str, **_: Any) -> None:
    if setting in SETTINGS:
        vars(settings).pop(SETTINGS[setting].attribute, None)


def unknown() -> list[str]:
    """Names of settings that look like ours and are not."""
    return sorted(
        name for name in dir(of_django) if name.startswith("WEBHOOKS_") and name not in SETTINGS
    )


def problems() -> list[str]:
    """A sentence for every setting that cannot be read, or must be set and is not."""
    found: list[str] = []
    for attribute in (*(one.attribute for one in SETTINGS.values()), "encryption_keys"):
        try:
            getattr(settings, attribute)
        except ImproperlyConfigured as error:
            if str(error) not in found:
                found.append(str(error))
    return found


def validate() -> None:
    """Read every setting once. Raises ImproperlyConfigured naming the first unreadable one."""
    for problem in problems():
        raise ImproperlyConfigured(problem)
