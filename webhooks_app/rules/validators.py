"""What a webhook may hold: URL, headers, token, credentials. Sentences for people; no I/O.

`parse_url` reads the raw string itself: `urlsplit` drops tabs and newlines, and libraries disagree
about `\\`, `@` and full-width digits; two readers of one URL are how a guard is passed by.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any

import idna

from . import signing
from .guard import Network, is_public

MASK = "••••••••"  # stands for a stored secret; sent back, it keeps the secret

NAME_LIMIT = 1024  # all limits in code points
URL_LIMIT = 2048
HOST_LIMIT = 253
TOKEN_LIMIT = 1024
CREDENTIAL_LIMIT = 1024
HEADERS_LIMIT = 99
TOO_MANY_HEADERS = f"A webhook can have at most {HEADERS_LIMIT} headers."
HEADER_NAME_LIMIT = 128
HEADER_VALUE_LIMIT = 1024
SIGNATURE_PREFIX_LIMIT = 32

DEFAULT_PORTS = {"http": 80, "https": 443}
RESERVED_SUFFIXES = (
    *("localhost", "local", "localdomain", "internal", "home.arpa"),
    *("lan", "corp", "test", "svc"),
)

_LABEL = re.compile(r"[a-z0-9_-]{1,63}\Z")
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SIGNATURE_PREFIX = re.compile(r"[a-z][a-z0-9-]{0,30}-\Z")
# Beside our own: they frame the request, or mean something else to those who read it.
_TAKEN_PREFIXES = ("x-request-", "content-", "proxy-", "sec-", "ce-")
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_JOINERS = "\u200c\u200d"  # part of ordinary words in Persian and Hindi


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a URL leads: `host` lower-case ASCII without brackets, `target` path and query."""

    scheme: str
    host: str
    port: int
    authority: str  # what the Host header says
    target: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return (self.scheme, self.host, self.port)


def parse_url(url: str) -> Endpoint:
    """The parts of `url`, as they are sent. Raises ValueError with a sentence for its owner.

    It judges the form alone; whether the place may be reached is for `url_error` and the guard.
    A non-ASCII host is sent as IDNA 2008, non-ASCII in path and query as percent-encoded UTF-8,
    everything else byte for byte. Its length is judged before anything else.
    """
    if len(url) > URL_LIMIT:
        raise ValueError(f"The URL must have 1 to {URL_LIMIT:,} characters.")
    _check_characters(url)
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in DEFAULT_PORTS:
        raise ValueError("The URL must start with https:// or http://.")
    if "#" in rest:
        raise ValueError("The URL must not have a fragment (the part from # on).")
    end = min((at for at in map(rest.find, "/?") if at >= 0), default=len(rest))
    authority, target = rest[:end], rest[end:]
    if "@" in authority:
        raise ValueError("The URL must not hold a user name or password; use the basic auth.")
    host, colon, port_text = _split_port(authority)
    port = DEFAULT_PORTS[scheme]
    if colon:
        if not _PORT.match(port_text) or not 1 <= int(port_text) <= 65535:
            raise ValueError("The port of the URL must be a number from 1 to 65535.")
        port = int(port_text)
    host = _address_v6(host) if host.startswith("[") else _ascii_host(host)
    name = f"[{host}]" if ":" in host else host
    return Endpoint(
        scheme=scheme,
        host=host,
        port=port,
        authority=name if port == DEFAULT_PORTS[scheme] else f"{name}:{port}",
        target=_percent_encoded(target if target.startswith("/") else "/" + target),
    )


def _check_characters(url: str) -> None:
    if not url:
        raise ValueError("Enter a URL.")
    if url != url.strip():
        raise ValueError("The URL must not begin or end with white space.")
    if "\\" in url:
        raise ValueError("The URL must not contain a backslash.")
    for character in url:
        category = unicodedata.category(character)
        if category[0] == "Z":
            raise ValueError("The URL must not contain spaces; write %20 instead.")
        if category in ("Cc", "Cs") or (category == "Cf" and character not in _JOINERS):
            raise ValueError("The URL must not contain control or invisible characters.")


def _split_port(authority: str) -> tuple[str, str, str]:
    if authority.startswith("["):
        host, bracket, rest = authority.partition("]")
        if not bracket or rest[:1] not in ("", ":"):
            raise ValueError("The IPv6 address of the URL is not written as [address].")
        return host + bracket, rest[:1], rest[1:]
    if authority.count(":") > 1:
        raise ValueError("An IPv6 address in a URL must stand in brackets: [2001:db8::1].")
    return authority.partition(":")


def _address_v6(host: str) -> str:
    if "%" in host:
        raise ValueError("The IPv6 address of the URL must not have a scope id.")
    try:
        return str(IPv6Address(host[1:-1]))
    except AddressValueError:
        raise ValueError("The URL holds no valid IPv6 address between the brackets.") from None


def _ascii_host(typed: str) -> str:
    for character in typed:
        # A full-width or circled letter spells another name than the one that was read.
        if not character.isascii() and unicodedata.normalize("NFKC", character).isascii():
            raise ValueError(
                f"The host of the URL contains {character!r}, which only looks like a plain "
                "letter, digit or dot."
            )
    host = typed.lower().removesuffix(".")  # the dot of an absolute name is for DNS alone
    if not host:
        raise ValueError("The URL has no host.")
    labels = [label if label.isascii() else _alabel(label) for label in host.split(".")]
    host = ".".join(labels)
    if len(host) > HOST_LIMIT or not all(map(_LABEL.match, labels)):
        raise ValueError("The host of the URL is not a valid host name.")
    if _NUMBER.match(labels[-1]):
        # Other programs read 127.1, 0x7f000001 and 0177.0.0.1 as addresses.
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            raise ValueError(
                "The host of the URL ends in a number, so it must be an IPv4 address of four "
                "decimal numbers."
            ) from None
    return host


def _alabel(label: str) -> str:
    """One non-ASCII label as IDNA 2008: lower case and composed, nothing else is mapped."""
    if len(label) > HOST_LIMIT:  # putting marks in their order takes the square of their number
        raise ValueError("The host of the URL is not a valid host name.")
    try:
        return idna.alabel(unicodedata.normalize("NFC", label)).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise ValueError("The host of the URL is not a valid international name.") from None


def _percent_encoded(target: str) -> str:
    return "".join(
        character
        if character.isascii()
        else "".join(f"%{byte:02X}" for byte in character.encode("utf-8"))
        for character in target
    )


def url_error(
    url: str,
    *,
    allowed: Iterable[Network] = (),
    require_https: bool = False,
    ports: Collection[int] = (),
) -> str:
    """Why `url` may not be saved, `""` when it may. Without `ports` any port may be called.

    Single labels and reserved suffixes are names of internal networks: they are accepted only
    where `allowed` opens one. Addresses are judged by the guard; what a name leads to, by the
    sender at each connection.
    """
    if error := text_error(url, "The URL", 1, URL_LIMIT):
        return error
    try:
        endpoint = parse_url(url)
    except ValueError as reason:
        return str(reason)
    if require_https and endpoint.scheme != "https":
        return "The URL must start with https:// here (WEBHOOKS_REQUIRE_HTTPS)."
    if ports and endpoint.port not in ports:
        return f"Port {endpoint.port} is not called from here (WEBHOOKS_ALLOWED_PORTS)."
    allowed = tuple(allowed)
    host = endpoint.host
    if ":" in host or _NUMBER.match(host.rpartition(".")[2]):
        public = is_public(host, allowed)
    else:
        public = bool(allowed) or ("." in host and not _reserved(host))
    if public:
        return ""
    return (
        f"{host} is not a public address. Networks of your own are opened by the setting "
        "WEBHOOKS_ALLOWED_NETWORKS."
    )


def _reserved(host: str) -> bool:
    return any(f".{host}".endswith(f".{suffix}") for suffix in RESERVED_SUFFIXES)


_FRAMING = "says how the request is framed and routed; it is set by us"
_HEADER_REASONS = {
    "host": "names the host of the URL; it is set by us",
    "content-length": _FRAMING,
    "transfer-encoding": _FRAMING,
    "connection": _FRAMING,
    "keep-alive": _FRAMING,
    "te": _FRAMING,
    "trailer": _FRAMING,
    "upgrade": _FRAMING,
    "expect": _FRAMING,
    "proxy": _FRAMING,
    "accept-encoding": "is set by us: answers are read as they are, never unpacked",
    "content-encoding": "says how the body is packed; ours is sent as it is",
    "x-request-id": "carries the id of the delivery; it is set by us",
}


def signature_prefix_error(prefix: object) -> str:
    """Why the signature headers may not be sent with these second names too; `""` when they may.

    `""` is no second names.
    """
    if prefix == "":
        return ""
    if not isinstance(prefix, str) or not _SIGNATURE_PREFIX.match(prefix):
        return (
            "The prefix must be 2 to 32 lower-case letters, digits and hyphens, begin with a "
            "letter and end with a hyphen, like svix-."
        )
    taken = prefix.startswith(_TAKEN_PREFIXES)
    if taken or any(_header_name_error(prefix + name, True, "") for name in signing.NAMES):
        return f"The headers that begin with {prefix} have a meaning of their own."
    return ""


def header_error(
    name: str, value: str, *, has_auth: bool = False, prefix: str = ""
) -> dict[str, list[str]]:
    """What is wrong with a header: `{}`, `{"name": [sentence]}`, `{"value": [sentence]}`, both.

    `has_auth` says that basic auth or OAuth is set, which owns `Authorization`; `prefix` are the
    second names of the signature headers. A value is sent as UTF-8, so any text without controls is
    possible; white space around it never reaches a receiver.
    """
    errors = {
        "name": _header_name_error(name, has_auth, prefix),
        "value": _header_value_error(value),
    }
    return {field: [error] for field, error in errors.items() if error}


def _header_name_error(name: str, has_auth: bool, prefix: str) -> str:
    if error := text_error(name, "The name", 1, HEADER_NAME_LIMIT):
        return error
    # CGI turns - into _, and some servers fold letters: a spelling is judged by what it may become.
    folded = unicodedata.normalize("NFKC", name).casefold().strip().replace("_", "-")
    reason = _HEADER_REASONS.get(folded, "")
    if folded.startswith("proxy-"):
        reason = _FRAMING
    elif folded.startswith(signing.PREFIX) or (
        prefix and folded in {prefix + name for name in signing.NAMES}
    ):
        reason = "belongs to the signature; it is set by us"
    elif folded == "authorization" and has_auth:
        reason = "is set from the basic auth or OAuth; clear one of the two"
    if reason:
        return f"{name} {reason}."
    if not _HEADER_NAME.match(name):
        return "The name may hold letters, digits and !#$%&'*+-.^_`|~ only."
    return ""


def _header_value_error(value: str) -> str:
    if error := text_error(value, "The value", 1, HEADER_VALUE_LIMIT):
        return error
    if any(unicodedata.category(c) == "Cc" and c != "\t" for c in value):
        return "The value must not contain line breaks or control characters."
    if value != value.strip(" \t"):
        return "The value must not begin or end with white space: receivers would not see it."
    return ""


def text_error(value: object, what: str, low: int, high: int) -> str:
    if not isinstance(value, str):
        return f"{what} must be text."
    if not low <= len(value) <= high:
        least = f"{low} to" if low else "at most"
        return f"{what} must have {least} {high:,} characters."
    if "\0" in value:
        return f"{what} must not contain NUL characters."
    if _SURROGATE.search(value):
        return f"{what} must not contain halves of surrogate pairs."
    return ""


def secret_error(value: object, what: str, high: int) -> str:
    if value == MASK:
        return f"{what} is the mask of a secret, but no secret is stored; enter it anew."
    return text_error(value, what, 0, high)


def webhook_errors(
    *,
    name: str,
    url: str,
    token: str,
    headers: Sequence[tuple[str, str]],
    username: str,
    password: str,
    allowed: Iterable[Network],
    require_https: bool,
    ports: Collection[int] = (),
    signature_prefix: str = "",
    has_oauth: bool = False,
    has_identity: bool = False,
) -> dict[str, Any]:
    """Everything wrong with a webhook, shaped as `details` of the error envelope; `{}` for none.
    `has_oauth`, `has_identity`: calls carry an access token, show a client certificate.

    For example `{"name": [sentence], "headers": {"3": {"value": [sentence]}},
    "auth": {"username": [sentence]}}`; header keys are positions from 0.
    """
    name_error = text_error(name, "The name", 1, NAME_LIMIT)
    if not name_error and not name.strip():
        name_error = "The name must not be white space alone."
    fields = {
        "name": name_error,
        "url": url_error(url, allowed=allowed, require_https=require_https, ports=ports),
        "token": secret_error(token, "The token", TOKEN_LIMIT),
    }
    details: dict[str, Any] = {field: [error] for field, error in fields.items() if error}
    if problem := signature_prefix_error(signature_prefix):
        details["signature"] = {"prefix": [problem]}
        signature_prefix = ""
    has_auth = bool(username) or has_oauth
    if error := _headers_error(headers, has_auth=has_auth, prefix=signature_prefix):
        details["headers"] = error
    if error := _auth_error(username, password):
        details["auth"] = error
    if username and has_oauth:
        details["oauth"] = [
            "There is basic auth, too, and both set Authorization: clear one of them."
        ]
    if has_identity and isinstance(url, str) and url[:5].lower() == "http:":
        details["identity"] = ["A client certificate can be shown to an https URL alone."]
    return details


def _headers_error(headers: Sequence[tuple[str, str]], has_auth: bool, prefix: str) -> Any:
    if len(headers) > HEADERS_LIMIT:
        return [TOO_MANY_HEADERS]
    errors = {}
    for position, (name, value) in enumerate(headers):
        error = header_error(name, value, has_auth=has_auth, prefix=prefix)
        if value == MASK:
            error["value"] = [secret_error(value, "The value", HEADER_VALUE_LIMIT)]
        if error:
            errors[str(position)] = error
    return errors


_CONTROLS = frozenset(map(chr, (*range(32), 127)))


def _auth_error(username: str, password: str) -> dict[str, list[str]]:
    errors = {
        "username": text_error(username, "The username", 0, CREDENTIAL_LIMIT),
        "password": secret_error(password, "The password", CREDENTIAL_LIMIT),
    }
    if not errors["username"]:
        if ":" in username:
            errors["username"] = "The username must not contain a colon (basic auth forbids it)."
        elif password and not username:
            errors["username"] = "A password needs a username."
    for field, value in (("username", username), ("password", password)):
        if not errors[field] and not _CONTROLS.isdisjoint(value):
            errors[field] = f"The {field} must not contain control characters (RFC 7617)."
    return {field: [error] for field, error in errors.items() if error}
