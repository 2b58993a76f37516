"""The settings of the app, from `django.conf.settings`; the only reader.

A changed setting holds at once where Django tells of it (`setting_changed`, as in tests).

Every value may come as text (from the environment) or in its own type. An unreadable one raises
`ImproperlyConfigured` with a sentence that names it; `validate()` reads them all at start.
"""

import base64
import hashlib
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypedDict
from urllib.parse import unquote, urlsplit

from django.conf import settings
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


def _flag(raw: Any) -> bool:
    words = {"true": True, "on": True, "yes": True, "1": True}
    words |= {"false": False, "off": False, "no": False, "0": False, "": False}
    if isinstance(raw, bool):
        return raw
    try:
        return words[str(raw).strip().lower()]
    except KeyError:
        raise ValueError("it must be true or false") from None


def _choice(*allowed: str) -> Callable[[Any], str]:
    def read(raw: Any) -> str:
        if raw not in allowed:
            raise ValueError(f"it must be one of: {', '.join(allowed)}")
        return str(raw)

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


def _text(raw: Any) -> str:
    return str(raw)


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


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its default, how it is read, what it means (with its unit), its Python type."""

    default: Any
    read: Callable[[Any], Any]
    meaning: str
    type: str = "str"


SETTINGS: dict[str, Setting] = {
    "WEBHOOKS_ENCRYPTION_KEYS": Setting(
        (), _keys, "Fernet keys, comma-separated; the first encrypts, all decrypt", "list[str]"
    ),
    "WEBHOOKS_VERIFICATION": Setting(
        "required", _choice("required", "off"), "whether a webhook must pass the challenge"
    ),
    "WEBHOOKS_TIMEOUT": Setting(10.0, _number(0.1, 60), "seconds for a whole exchange", "float"),
    "WEBHOOKS_RETRY_SCHEDULE": Setting(
        (5, 300, 1800, 7200, 18000, 36000, 36000),
        _schedule,
        "seconds to wait after each failure, comma-separated",
        "list[float]",
    ),
    "WEBHOOKS_CONCURRENCY": Setting(100, _whole(1, 10_000), "exchanges in flight a process", "int"),
    "WEBHOOKS_ALLOWED_NETWORKS": Setting(
        (), _networks, "CIDRs that may be reached although not public, comma-separated", "list[str]"
    ),
    "WEBHOOKS_ALLOWED_PORTS": Setting(
        (), _ports, "ports that may be called, comma-separated; empty: any", "list[int]"
    ),
    "WEBHOOKS_PROXY": Setting(
        "", _proxy, "egress proxy, http://user:password@host:port; empty: none"
    ),
    "WEBHOOKS_REQUIRE_HTTPS": Setting(False, _flag, "refuse http URLs", "bool"),
    "WEBHOOKS_RETENTION_DAYS": Setting(
        30, _whole(1, 36_500), "days that finished deliveries and their attempts are kept", "int"
    ),
    "WEBHOOKS_JOB_RETENTION_DAYS": Setting(
        90, _whole(1, 36_500), "days that jobs are kept after they ended", "int"
    ),
    "WEBHOOKS_AUDIT_RETENTION_DAYS": Setting(
        730, _whole(1, 36_500), "days that the audit log goes back", "int"
    ),
    "WEBHOOKS_TRUSTED_PROXIES": Setting(
        0, _whole(0, 10), "proxies of our own whose X-Forwarded-For is believed", "int"
    ),
    "WEBHOOKS_RATE_PER_TOKEN": Setting(
        60_000, _whole(0, 10**9), "API requests a minute with one token; 0: any number", "int"
    ),
    "WEBHOOKS_RATE_PER_ADDRESS": Setting(
        120_000, _whole(0, 10**9), "API requests a minute from one address; 0: any number", "int"
    ),
    "WEBHOOKS_FAILED_AUTHENTICATIONS": Setting(
        100, _whole(0, 10**9), "wrong tokens in 15 minutes from one address; 0: any number", "int"
    ),
    "WEBHOOKS_EGRESS_ADDRESSES": Setting(
        (),
        _networks,
        "addresses we call from, comma-separated; shown beside connect failures",
        "list[str]",
    ),
    "WEBHOOKS_NOTICE_EMAILS": Setting(
        (),
        _addresses,
        "who of the staff hears by email of webhooks that fail, comma-separated",
        "list[str]",
    ),
    "WEBHOOKS_CONSOLE_URL": Setting(
        "", _text, "address of the admin, as https://host/admin/, for links in notices"
    ),
    "WEBHOOKS_METRICS_TOKEN": Setting("", _token, "bearer token of /metrics; empty closes it"),
    "WEBHOOKS_EVENT_TYPES": Setting(
        "open",
        _choice("open", "declared"),
        "whether events may have any type, or only those of the catalogue",
    ),
    "WEBHOOKS_CLOUDEVENTS_SOURCE": Setting(
        "", _token, "source of CloudEvents, a URI; empty: /accounts/<name>"
    ),
    "WEBHOOKS_METRICS_PORT": Setting(
        0, _whole(0, 65535), "first port on which processes tell their own metrics; 0: none", "int"
    ),
    "WEBHOOKS_METRICS_ADDRESS": Setting(
        "127.0.0.1", _address, "address of those ports; 0.0.0.0: all of this machine"
    ),
}

_values: dict[str, Any] = {}


@receiver(setting_changed)
def _changed(*, setting: str, **_: Any) -> None:
    _values.pop(setting, None)


def _get(name: str) -> Any:
    # Kept, because a look at Django's lazy settings costs a µs and a delivery needs several.
    try:
        return _values[name]
    except KeyError:
        pass
    setting = SETTINGS[name]
    raw = getattr(settings, name, setting.default)
    try:
        value = setting.read(raw)
    except (ValueError, TypeError) as error:
        # The value itself stays out of the sentence: it may be a key.
        raise ImproperlyConfigured(
            f"{name} ({setting.meaning}) cannot be read: {_reason(error)}"
        ) from None
    _values[name] = value
    return value


def _reason(error: Exception) -> str:
    text = str(error)
    return text if text.startswith(("it must", "each key must")) else "it has the wrong form"


def encryption_keys() -> tuple[str, ...]:
    """Fernet keys, newest first. Under DEBUG without keys one is derived from SECRET_KEY.

    Raises ImproperlyConfigured outside DEBUG when there is none.
    """
    keys: tuple[str, ...] = _get("WEBHOOKS_ENCRYPTION_KEYS")
    if keys:
        return keys
    if settings.DEBUG:
        digest = hashlib.sha256(b"webhooks encryption " + settings.SECRET_KEY.encode()).digest()
        return (base64.urlsafe_b64encode(digest).decode(),)
    raise ImproperlyConfigured(
        "WEBHOOKS_ENCRYPTION_KEYS is not set: tokens, passwords and header values are stored "
        "encrypted and need at least one Fernet key (outside DEBUG there is no default)."
    )


def verification_required() -> bool:
    return bool(_get("WEBHOOKS_VERIFICATION") == "required")


def timeout() -> float:
    """Seconds for a whole exchange, from before DNS to the last byte."""
    return float(_get("WEBHOOKS_TIMEOUT"))


def retry_schedule() -> tuple[float, ...]:
    """Seconds to wait after each failure; one more try than delays."""
    schedule: tuple[float, ...] = _get("WEBHOOKS_RETRY_SCHEDULE")
    return schedule


def concurrency() -> int:
    """Exchanges in flight a process."""
    return int(_get("WEBHOOKS_CONCURRENCY"))


def allowed_networks() -> tuple[Network, ...]:
    """Networks that may be reached although they are not public."""
    networks: tuple[Network, ...] = _get("WEBHOOKS_ALLOWED_NETWORKS")
    return networks


def allowed_ports() -> frozenset[int]:
    """Ports that may be called; empty for any."""
    ports: frozenset[int] = _get("WEBHOOKS_ALLOWED_PORTS")
    return ports


class UrlRules(TypedDict):
    allowed: tuple[Network, ...]
    require_https: bool
    ports: frozenset[int]


def url_rules() -> UrlRules:
    """What `rules.validators` must know of the settings to judge a URL."""
    return UrlRules(
        allowed=allowed_networks(), require_https=require_https(), ports=allowed_ports()
    )


def proxy() -> Proxy | None:
    """The egress proxy that every exchange goes through, None for none."""
    found: Proxy | None = _get("WEBHOOKS_PROXY")
    return found


def egress_addresses() -> list[str]:
    """The addresses our calls come from, as a receiver's owner is told them."""
    networks: tuple[Network, ...] = _get("WEBHOOKS_EGRESS_ADDRESSES")
    return [str(n.network_address if n.num_addresses == 1 else n) for n in networks]


def require_https() -> bool:
    return bool(_get("WEBHOOKS_REQUIRE_HTTPS"))


def retention_days() -> int:
    return int(_get("WEBHOOKS_RETENTION_DAYS"))


def job_retention_days() -> int:
    """Days that jobs are kept after they ended."""
    return int(_get("WEBHOOKS_JOB_RETENTION_DAYS"))


def audit_retention_days() -> int:
    """Days that the audit log goes back."""
    return int(_get("WEBHOOKS_AUDIT_RETENTION_DAYS"))


def trusted_proxies() -> int:
    """How many proxies of our own stand in front; 0: X-Forwarded-For is not read."""
    return int(_get("WEBHOOKS_TRUSTED_PROXIES"))


def rate_per_token() -> int:
    """API requests a minute with one token or of one session's user; 0: any number."""
    return int(_get("WEBHOOKS_RATE_PER_TOKEN"))


def rate_per_address() -> int:
    """API requests a minute from one address; 0: any number."""
    return int(_get("WEBHOOKS_RATE_PER_ADDRESS"))


def failed_authentications() -> int:
    """Wrong tokens in 15 minutes from one address; 0: any number."""
    return int(_get("WEBHOOKS_FAILED_AUTHENTICATIONS"))


def notice_emails() -> tuple[str, ...]:
    """Who of the staff hears by email of webhooks that fail."""
    addresses: tuple[str, ...] = _get("WEBHOOKS_NOTICE_EMAILS")
    return addresses


def console_url() -> str:
    """Address of the admin for links in notices, with a slash at its end; `""`: no links."""
    url = str(_get("WEBHOOKS_CONSOLE_URL"))
    return f"{url.rstrip('/')}/" if url else ""


def metrics_token() -> str:
    return str(_get("WEBHOOKS_METRICS_TOKEN"))


def event_types_declared() -> bool:
    """Whether events may only have types that are declared in the catalogue."""
    return bool(_get("WEBHOOKS_EVENT_TYPES") == "declared")


def cloudevents_source() -> str:
    """`source` of CloudEvents; `""`: the account's path."""
    return str(_get("WEBHOOKS_CLOUDEVENTS_SOURCE"))


def metrics_port() -> int:
    """The first port on which a process tells its own metrics; 0: none does."""
    return int(_get("WEBHOOKS_METRICS_PORT"))


def metrics_address() -> str:
    return str(_get("WEBHOOKS_METRICS_ADDRESS"))


def unknown() -> list[str]:
    """Names of settings that look like ours and are not."""
    return sorted(
        name for name in dir(settings) if name.startswith("WEBHOOKS_") and name not in SETTINGS
    )


def problems() -> list[str]:
    """A sentence for every setting that cannot be read, or must be set and is not."""
    readers: list[Callable[[], Any]] = [partial(_get, name) for name in SETTINGS]
    found: list[str] = []
    for read in (*readers, encryption_keys):
        try:
            read()
        except ImproperlyConfigured as error:
            if str(error) not in found:
                found.append(str(error))
    return found


def validate() -> None:
    """Read every setting once. Raises ImproperlyConfigured naming the first unreadable one."""
    for problem in problems():
        raise ImproperlyConfigured(problem)
