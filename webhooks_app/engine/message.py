"""A webhook and a payload -> the bytes of one HTTP request: token, basic auth, headers."""

import base64
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from django.views.decorators.debug import sensitive_variables

from .. import __version__, conf
from ..models import Webhook
from ..rules import failures, validators
from ..rules.failures import Failure
from .sender import Request

USER_AGENT = f"Webhooks-Console/{__version__}"

_OWN_PARAMETERS = {"token", "challenge"}
_TARGET = re.compile(r"[!-~]+\Z")


class Unsendable(Exception):
    """The stored webhook cannot be made into a request: its row was written past the API, or a
    setting has changed since. `failure` says how."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Head:
    """All of a request that stays the same for a webhook's version."""

    account: int
    endpoint: validators.Endpoint
    token: str = field(repr=False)
    fields: bytes = field(repr=False)  # header lines of every request
    post: bytes = field(repr=False)  # all of a POST before the lines that differ from call to call
    secrets: tuple[str, ...] = field(repr=False)  # which an answer may hold


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
    """The parts of a query but for parameters of these names, however they are spelled."""
    return [part for part in query.split("&") if unquote(part.partition("=")[0]) not in names]


def without_token(url: str) -> str:
    """The URL as the history keeps it: without a token or challenge in its query."""
    base, mark, query = url.partition("?")
    kept = _others(query, _OWN_PARAMETERS)
    return f"{base}{mark}{'&'.join(kept)}" if kept and mark else base


@sensitive_variables()
def head(webhook: Webhook, headers: Sequence[tuple[str, str]] | None = None) -> Head:
    """Everything of the request that does not change between calls. Raises Unsendable.

    The validators judge once more: a row may have been written past them.
    """
    if headers is None:
        headers = [(header.name, header.value) for header in webhook.headers.all()]
    endpoint = _endpoint(webhook.url)
    has_auth = bool(webhook.auth_username)
    names = set()
    secrets = [webhook.token, *(value for _, value in headers)]
    fields = []
    for name, value in headers:
        if problems := validators.header_error(name, value, has_auth=has_auth):
            sentence = " ".join(line for lines in problems.values() for line in lines)
            raise Unsendable(Failure("bad_url", f"header not usable: {sentence}"))
        names.add(name.lower())
        fields.append(f"{name}: {value}\r\n".encode())
    if has_auth:
        pair = f"{webhook.auth_username}:{webhook.auth_password}".encode()
        basic = base64.b64encode(pair).decode("ascii")
        fields.append(f"Authorization: Basic {basic}\r\n".encode())
        secrets += [webhook.auth_password, basic]
    if "user-agent" not in names:
        fields.append(f"User-Agent: {USER_AGENT}\r\n".encode())
    if "accept" not in names:
        fields.append(b"Accept: application/json, */*;q=0.5\r\n")
    fields.append(b"Accept-Encoding: identity\r\n")
    always = b"".join(fields)
    target = with_parameters(endpoint.target, [("token", webhook.token)] if webhook.token else [])
    content_type = b"" if "content-type" in names else b"Content-Type: application/json\r\n"
    return Head(
        account=webhook.account_id,
        endpoint=endpoint,
        token=webhook.token,
        fields=always,
        post=_start("POST", target, endpoint) + always + content_type,
        secrets=tuple(secrets),
    )


def _endpoint(url: str) -> validators.Endpoint:
    try:
        endpoint = validators.parse_url(url)
    except ValueError as error:
        raise Unsendable(Failure("bad_url", f"URL not usable: {error}")) from None
    allowed, https = conf.allowed_networks(), conf.require_https()
    if problem := validators.url_error(url, allowed=allowed, require_https=https):
        if https and endpoint.scheme != "https":
            raise Unsendable(Failure("bad_url", f"URL not usable: {problem}"))
        raise Unsendable(failures.blocked(endpoint.host))
    return endpoint


def post(head: Head, *, request_id: str, now: float, body: bytes) -> Request:
    """A call with a JSON body. `webhook-id` and `webhook-timestamp` as in Standard Webhooks."""
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    return _request("POST", head, head.post + _identity(request_id, now) + length, body)


def challenge(head: Head, *, request_id: str, now: float, challenge: str) -> Request:
    """A verification request: GET with `challenge` and, when there is one, `token`."""
    parameters = [("challenge", challenge)]
    if head.token:
        parameters.append(("token", head.token))
    target = with_parameters(head.endpoint.target, parameters)
    start = _start("GET", target, head.endpoint)
    return _request("GET", head, start + head.fields + _identity(request_id, now) + b"\r\n", b"")


def _start(method: str, target: str, endpoint: validators.Endpoint) -> bytes:
    if not _TARGET.match(target):
        raise Unsendable(Failure("bad_url", "URL not usable: no request line can carry it"))
    return f"{method} {target} HTTP/1.1\r\nHost: {endpoint.authority}\r\n".encode("ascii")


def _identity(request_id: str, now: float) -> bytes:
    return (
        f"X-Request-Id: {request_id}\r\n"
        f"webhook-id: {request_id}\r\n"
        f"webhook-timestamp: {int(now)}\r\n"
    ).encode()


def _request(method: str, head: Head, lines: bytes, body: bytes) -> Request:
    endpoint = head.endpoint
    return Request(
        method=method,
        scheme=endpoint.scheme,
        host=endpoint.host,
        port=endpoint.port,
        account=head.account,
        head=lines,
        body=body,
        secrets=head.secrets,
    )
