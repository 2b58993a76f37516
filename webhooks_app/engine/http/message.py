"""A webhook and a payload -> the bytes of one HTTP request: token, basic auth, headers."""

import base64
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import quote, unquote

from django.db import router
from django.views.decorators.debug import sensitive_variables

from ... import __version__, conf
from ...models import SigningKey, Webhook
from ...rules import failures, oauth, signing, validators
from ...rules.failures import Failure
from ..store import EventLines
from .exchange import Request, TokenCall
from .tls import Tls

USER_AGENT = f"Webhooks-Console/{__version__}"
# For so long (the longest overlap and a week) after a rotation it may explain a refusal.
ROTATION_REMEMBERED = timedelta(days=14)

_OWN_PARAMETERS = {"token", "challenge"}
_TARGET = re.compile(r"[!-~]+\Z")


class Unsendable(Exception):
    """The stored webhook cannot be made into a request: its row was written past the API, or a
    setting has changed since. `failure` says how."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Changed(Exception):
    """The webhook was written after it was read: its headers may be meant for another address."""


def changed(versions: Mapping[str, int]) -> set[str]:
    """Of webhooks with headers, which were read after their rows in these versions, the ids of
    those that were written since: a secret goes to the address that it was saved with alone."""
    if not versions:
        return set()
    now = Webhook.objects.filter(pk__in=versions).values_list("pk", "version")
    return versions.keys() - {pk for pk, version in now if versions[pk] == version}


@dataclass(frozen=True, slots=True)
class Head:
    """All of a request that stays the same for a webhook's version."""

    account: int
    endpoint: validators.Endpoint
    token: str = field(repr=False)
    fields: bytes = field(repr=False)  # header lines of every request
    post: bytes = field(repr=False)  # all of a POST before the lines that differ from call to call
    untyped: bytes = field(repr=False)  # the same without Content-Type
    secrets: tuple[str, ...] = field(repr=False)  # which an answer may hold
    signers: tuple[signing.Signer, ...] = field(repr=False)  # that of the present key first
    prefixes: tuple[str, ...]  # of the signature headers
    varying: bytes  # the lines that differ from call to call, and the end, to be filled in
    varying_post: bytes  # the same of a POST
    rotated_until: float  # seconds since the epoch until which a refusal may come of a rotation
    access: TokenCall | None = None  # calls carry an access token, which this one brings
    tls: Tls | None = None  # certificate and authorities of its own


def with_parameters(target: str, parameters: Sequence[tuple[str, str]]) -> str:
    """`target` with query parameters of ours; the rest of its query stays byte for byte.

    A parameter of the same name that the URL already has is replaced.
    """
    if not parameters:
        return target
    path, _, query = target.partition("?")
    kept = _others(query, {name for name, _ in parameters}) if query else []
    added = [f"{name}={quote(value, safe='')}" for name, value in parameters]
    return f"{path}?{'&'.join(kept + added)}"


def _others(query: str, names: Collection[str]) -> list[str]:
    """The parameters of a query but for those with these names, however they are spelled."""
    return [part for part in query.split("&") if unquote(part.partition("=")[0]) not in names]


def without_token(url: str) -> str:
    """The URL as the history keeps it: without a token or challenge in its query."""
    base, mark, query = url.partition("?")
    kept = _others(query, _OWN_PARAMETERS)
    return f"{base}{mark}{'&'.join(kept)}" if kept and mark else base


@sensitive_variables()
def head(
    webhook: Webhook,
    headers: Sequence[tuple[str, str]] | None = None,
    keys: Sequence[SigningKey] | None = None,
) -> Head:
    """Everything of the request that does not change between calls. Raises Unsendable, WrongKey.

    The validators judge once more: a row may have been written past them. Headers and signing keys
    that are not given are read, which raises Changed, too, and a key is made where there is none;
    given none, calls are not signed.
    """
    if headers is None:
        headers = [(header.name, header.value) for header in webhook.headers.all()]
        if headers and changed({webhook.pk: webhook.version}):
            raise Changed
    if keys is None:
        stored = SigningKey.objects.using(router.db_for_write(SigningKey))
        keys = stored.of([webhook.pk])[webhook.pk]
    prefix = webhook.signature_prefix
    if problem := validators.signature_prefix_error(prefix):
        raise Unsendable(Failure("bad_url", f"signature not usable: {problem}"))
    endpoint = _endpoint(webhook.url)
    tls = Tls.of(webhook.identity, webhook.ca_certificates)
    if webhook.identity and endpoint.scheme != "https":
        raise Unsendable(Failure("bad_url", "URL not usable: a client certificate needs https"))
    client = _client(webhook)
    has_auth = bool(webhook.auth_username)
    if has_auth and client is not None:
        raise Unsendable(Failure("bad_url", "OAuth not usable: there is basic auth, too"))
    authorized = has_auth or client is not None
    names = set()
    # A receiver knows the signing secrets too, and may show them with its settings.
    signed_with = [key.secret for key in keys]
    secrets = [webhook.token, *(value for _, value in headers), *signed_with]
    fields: list[bytes] = []
    typed: list[bytes] = []  # of these, the content types
    for name, value in headers:
        if problems := validators.header_error(name, value, has_auth=authorized, prefix=prefix):
            sentence = " ".join(line for lines in problems.values() for line in lines)
            raise Unsendable(Failure("bad_url", f"header not usable: {sentence}"))
        names.add(name.lower())
        line = f"{name}: {value}\r\n".encode()
        fields.append(line)
        if name.lower() == "content-type":
            typed.append(line)
    if has_auth:
        pair = f"{webhook.auth_username}:{webhook.auth_password}".encode()
        basic = base64.b64encode(pair).decode("ascii")
        fields.append(f"Authorization: Basic {basic}\r\n".encode())
        secrets += [webhook.auth_password, basic]
    if client is not None:
        secrets += client.secrets
    if "user-agent" not in names:
        fields.append(f"User-Agent: {USER_AGENT}\r\n".encode())
    if "accept" not in names:
        fields.append(b"Accept: application/json, */*;q=0.5\r\n")
    fields.append(b"Accept-Encoding: identity\r\n")
    always = b"".join(fields)
    target = with_parameters(endpoint.target, [("token", webhook.token)] if webhook.token else [])
    prefixes = (signing.PREFIX, prefix) if prefix else (signing.PREFIX,)
    varying = _varying(prefixes, signed=bool(keys))
    content_type = b"" if typed else b"Content-Type: application/json\r\n"
    start = _start("POST", target, endpoint)
    return Head(
        account=webhook.account_id,
        endpoint=endpoint,
        token=webhook.token,
        fields=always,
        post=start + always + content_type,
        untyped=start + (b"".join(line for line in fields if line not in typed)),
        secrets=tuple(secrets),
        signers=tuple(_signer(key) for key in keys),
        prefixes=prefixes,
        varying=varying + b"\r\n",
        varying_post=varying + b"Content-Length: %d\r\n\r\n",
        rotated_until=max(
            ((key.created_at + ROTATION_REMEMBERED).timestamp() for key in keys if key.rotated),
            default=0.0,
        ),
        access=None if client is None else _access(webhook, client),
        tls=tls,
    )


def _signer(key: SigningKey) -> signing.Signer:
    until = math.inf if key.expires_at is None else key.expires_at.timestamp()
    try:
        return signing.signer(signing.key_of(key.secret), until)
    except ValueError as problem:
        raise Unsendable(Failure("bad_url", f"signature not usable: {problem}")) from None


def _client(webhook: Webhook) -> oauth.Client | None:
    try:
        return oauth.client(webhook.oauth)
    except ValueError as problem:
        raise Unsendable(Failure("bad_url", f"OAuth not usable: {problem}")) from None


def _access(webhook: Webhook, client: oauth.Client) -> TokenCall:
    """The call for an access token: nothing of the webhook's own head or body is in it."""
    endpoint = _endpoint(client.token_url)
    body = client.form()
    lines = [
        *(f"User-Agent: {USER_AGENT}", "Accept: application/json", "Accept-Encoding: identity"),
        *("Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"),
    ]
    if authorization := client.authorization():
        lines.append(f"Authorization: {authorization}")
    head = _start("POST", endpoint.target, endpoint) + "\r\n".join([*lines, "", ""]).encode("ascii")
    request = Request(
        "POST",
        endpoint.scheme,
        endpoint.host,
        endpoint.port,
        webhook.account_id,
        head,
        body,
        secrets=client.secrets,
    )
    return TokenCall(webhook.pk, webhook.version, without_token(client.token_url), request)


def _endpoint(url: str) -> validators.Endpoint:
    try:
        endpoint = validators.parse_url(url)
    except ValueError as error:
        raise Unsendable(Failure("bad_url", f"URL not usable: {error}")) from None
    allowed, https = conf.settings.allowed_networks, conf.settings.require_https
    if problem := validators.url_error(url, allowed=allowed, require_https=https):
        if https and endpoint.scheme != "https":
            raise Unsendable(Failure("bad_url", f"URL not usable: {problem}"))
        raise Unsendable(failures.blocked(endpoint.host))
    return endpoint


def event_lines(event_id: str, type: str, content_type: str) -> EventLines:
    """What a call says of its event; `content_type` is that of the form, `""` for JSON."""
    head = f"webhook-event-id: {event_id}\r\nwebhook-event-type: {type}\r\n"
    return EventLines(head.encode(), content_type)


def sequence_lines(position: int, previous: int | None) -> bytes:
    """What a call says of its place in the order, and of the one before it, if there was one."""
    lines = b"webhook-sequence: %d\r\n" % position
    return lines if previous is None else lines + b"webhook-previous: %d\r\n" % previous


def post(
    head: Head,
    *,
    request_id: str,
    now: float,
    body: bytes,
    event: EventLines | None = None,
    sequence: tuple[int, int | None] | None = None,
) -> Request:
    """A call with a JSON body, signed as Standard Webhooks says; `event`: whose body it is;
    `sequence` as `sequence_lines` takes it."""
    start = head.post
    if event is not None:
        if event.content_type:
            start = head.untyped + f"Content-Type: {event.content_type}\r\n".encode()
        start += event.head
    if sequence is not None:
        start += sequence_lines(*sequence)
    lines = start + head.varying_post % (*_identity(head, request_id, now, body), len(body))
    return _request("POST", head, lines, body, now)


def challenge(head: Head, *, request_id: str, now: float, challenge: str) -> Request:
    """A verification request: GET with `challenge` and, when there is one, `token`.

    Signed like a call, with an empty body: the signature covers id and time, not the query.
    """
    parameters = [("challenge", challenge)]
    if head.token:
        parameters.append(("token", head.token))
    target = with_parameters(head.endpoint.target, parameters)
    start = _start("GET", target, head.endpoint)
    lines = start + head.fields + head.varying % _identity(head, request_id, now, b"")
    return _request("GET", head, lines, b"", now)


def _start(method: str, target: str, endpoint: validators.Endpoint) -> bytes:
    if not _TARGET.match(target):
        raise Unsendable(Failure("bad_url", "URL not usable: no request line can carry it"))
    return f"{method} {target} HTTP/1.1\r\nHost: {endpoint.authority}\r\n".encode("ascii")


def _varying(prefixes: Sequence[str], *, signed: bool) -> bytes:
    """The lines into which `_identity` is filled."""
    lines = "X-Request-Id: %b\r\n"
    for prefix in prefixes:
        lines += f"{prefix}id: %b\r\n{prefix}timestamp: %d\r\n"
        if signed:
            lines += f"{prefix}signature: %b\r\n"
    return lines.encode("ascii")


def _identity(head: Head, request_id: str, now: float, body: bytes) -> tuple[bytes | int, ...]:
    """What differs from call to call. `now` is of the attempt: a repeat is signed anew."""
    ident, time = request_id.encode(), int(now)
    values: tuple[bytes | int, ...] = (ident, time)
    if head.signers:
        values = (ident, time, signing.signature(head.signers, ident, time, body))
    return (ident, *values * len(head.prefixes))


def _request(method: str, head: Head, lines: bytes, body: bytes, now: float) -> Request:
    endpoint = head.endpoint
    return Request(  # by place: with names it would take twice as long
        method,
        endpoint.scheme,
        endpoint.host,
        endpoint.port,
        head.account,
        lines,
        body,
        head.tls,
        head.access,
        head.secrets,
        now < head.rotated_until,
    )
