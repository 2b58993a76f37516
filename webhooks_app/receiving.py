"""The other side: a Django view that receives webhooks, ours or of any Standard Webhooks sender.

    from webhooks_app.receiving import receiver

    @receiver(secret=settings.WEBHOOK_SECRET)
    def orders(request):
        work_on(request.webhook.id, json.loads(request.body))
        return HttpResponse()

It needs neither `webhooks_app` in INSTALLED_APPS nor any table. Before the view runs, the call is
judged; whoever does not pass gets 401 and a line that says why. In this order:

* The body is read to `body_limit` bytes at the most (413), before anything is made of it.
* With a `secret` the signature decides; a token alone then never passes. Else `?token=` decides, in
  constant time. One of the two must be given, so that no view stands open by mistake; and where a
  function looks for the secret and finds none, no token takes its place.
* A verification (`GET` with `challenge`) is answered here. Its signature covers id and time only.
* A `webhook-id` on which the view has succeeded (2xx) is answered 200, without the view. It is
  noted when the view is done, never before: a view that fails sees the repeat. Two copies at the
  same moment may both pass; a cache of one process (LocMemCache) knows nothing of the others, so
  with several processes name a shared one.
"""

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.views.decorators.debug import sensitive_variables

from .rules import signing

__all__ = ["Call", "receiver"]

BODY_LIMIT = 1024 * 1024  # bytes; no sender of ours sends more
REMEMBERED = 3 * 86_400  # seconds; longer than all tries of a delivery take

NOT_AWAITED = (
    "The function {}= of a receiver of webhooks must be a plain one: it is called and not awaited. "
    "It may ask the database, of an asynchronous view too."
)

_CHALLENGE = re.compile(r"[A-Za-z0-9._~-]{1,256}\Z")

log = logging.getLogger("webhooks.receiving")

Secrets = str | Iterable[str]


@dataclass(frozen=True, slots=True)
class Call:
    """What a view finds as `request.webhook`. `sent_at`: seconds since the epoch, None where a
    token vouches for the call and nothing for its time."""

    id: str
    sent_at: int | None


class _Answered(Exception):
    """The call ends here."""

    def __init__(self, response: HttpResponse) -> None:
        super().__init__(response.status_code)
        self.response = response


def receiver(
    *,
    secret: Secrets | Callable[[HttpRequest], Secrets] = "",
    token: str | Callable[[HttpRequest], str] = "",
    tolerance: float = signing.TOLERANCE,
    body_limit: int = BODY_LIMIT,
    cache: str | None = "default",
    remember: float = REMEMBERED,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a view, plain or asynchronous, that takes webhooks.

    `secret`: `whsec_…` as the webhook's owner was given it; several during a rotation; or a plain
    function of the request, for many senders, which may ask the database. `tolerance`: seconds by
    which the two clocks may differ. `cache`: the name of the Django cache that knows ids for
    `remember` seconds; None drops no repeats. Raises ImproperlyConfigured without a secret and a
    token, for a secret that is none (a function's: with the first call), and for a function that is
    asynchronous.
    """
    for name, function in (("secret", secret), ("token", token)):
        if iscoroutinefunction(function):
            raise ImproperlyConfigured(NOT_AWAITED.format(name))
    if not callable(secret):
        secret = (secret,) if isinstance(secret, str) else tuple(secret)
        secret = tuple(each for each in secret if each)
        _keys(secret)
    if not secret and not token:
        raise ImproperlyConfigured(
            "A receiver of webhooks needs secret=, the whsec_… that the page of its webhook and "
            "GET /webhooks/:id/secret show (or token=); here both are empty."
        )
    judge = _Judge(secret, token, tolerance, body_limit)

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        seen = _Seen(view, cache, remember)

        if iscoroutinefunction(view):

            @wraps(view)
            async def received(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                try:
                    call = await judge.acall(request)
                except _Answered as answered:
                    return answered.response
                key = seen.key(request, call)
                if await seen.aknows(key):
                    return _answer(200)
                request.webhook = call  # type: ignore[attr-defined]
                response = await view(request, *args, **kwargs)
                if 200 <= response.status_code <= 299:
                    await seen.anote(key)
                return response

        else:

            @wraps(view)
            def received(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                try:
                    call = judge.call(request)
                except _Answered as answered:
                    return answered.response
                key = seen.key(request, call)
                if seen.knows(key):
                    return _answer(200)
                request.webhook = call  # type: ignore[attr-defined]
                response = view(request, *args, **kwargs)
                if 200 <= response.status_code <= 299:
                    seen.note(key)
                return response

        received.csrf_exempt = True  # type: ignore[attr-defined]  # the signature vouches for it
        return received

    return decorate


@dataclass(frozen=True, slots=True)
class _Judge:
    secret: Any
    token: Any
    tolerance: float
    body_limit: int

    async def acall(self, request: HttpRequest) -> Call:
        if callable(self.secret) or callable(self.token):  # no event loop may wait for a database
            return await sync_to_async(self.call)(request)
        return self.call(request)

    @sensitive_variables()
    def call(self, request: HttpRequest) -> Call:
        """The call that may go to the view; all others are Answered."""
        if request.method not in ("GET", "POST"):
            response = _answer(405)
            response["Allow"] = "GET, POST"
            raise _Answered(response)
        body = b"" if request.method == "GET" else _body(request, self.body_limit)
        secret = self.secret(request) if callable(self.secret) else self.secret
        token = self.token(request) if callable(self.token) else self.token
        secrets = (secret,) if isinstance(secret, str) else tuple(secret)
        if keys := _keys(each for each in secrets if each):
            call = self._signed(request, keys, body)
        elif token and not callable(self.secret):
            call = _with_token(request, token)
        else:
            raise ImproperlyConfigured("There is neither a secret nor a token for this call.")
        if request.method == "GET":
            raise _Answered(_challenge(request))
        if not body:
            # A verification's signature would hold for it too: both sign an empty body.
            raise _Answered(_answer(400, "the body is empty"))
        return call

    def _signed(self, request: HttpRequest, keys: list[bytes], body: bytes) -> Call:
        ident, timestamp, signatures = (
            request.headers.get(f"{signing.PREFIX}{name}", "") for name in signing.NAMES
        )
        try:
            sent_at = signing.check(
                keys,
                ident=ident,
                timestamp=timestamp,
                signatures=signatures,
                body=body,
                now=time.time(),
                tolerance=self.tolerance,
            )
        except signing.Refused as reason:
            raise _Answered(_answer(401, str(reason))) from None
        return Call(ident, sent_at)


def _keys(secrets: Iterable[str]) -> list[bytes]:
    try:
        return [signing.key_of(secret) for secret in secrets]
    except ValueError as problem:
        raise ImproperlyConfigured(f"A secret of a receiver cannot be used: {problem}") from None


def _with_token(request: HttpRequest, token: str) -> Call:
    given = request.GET.get("token", "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
        raise _Answered(_answer(401, "token is not the one expected"))
    return Call(request.headers.get(f"{signing.PREFIX}id", "")[:256], None)


def _challenge(request: HttpRequest) -> HttpResponse:
    challenge = request.GET.get("challenge", "")
    if not _CHALLENGE.match(challenge):
        return _answer(400, "challenge must be 1 to 256 URL-safe characters")
    return _answer(200, challenge)


def _body(request: HttpRequest, limit: int) -> bytes:
    """The body, read to a byte past the limit at the most; `request.body` is it afterwards."""
    if not hasattr(request, "_body"):  # else a middleware has read it already
        declared = request.META.get("CONTENT_LENGTH") or "0"
        if declared.isdecimal() and (len(declared) > 15 or int(declared) > limit):
            raise _Answered(_answer(413))
        parts, missing = [], limit + 1
        try:
            stream = _stream(request)
            while missing > 0 and (part := stream.read(missing)):
                parts.append(part)
                missing -= len(part)
        except OSError:  # Django's UnreadablePostError, or the server's own
            raise _Answered(_answer(400, "the body did not come")) from None
        request._body = b"".join(parts)
    if len(request.body) > limit:
        raise _Answered(_answer(413))
    return request.body


def _stream(request: HttpRequest) -> Any:
    """Where the body is read from. Under WSGI Django takes one without Content-Length for empty,
    also where the server hands chunks on."""
    meta = request.META
    if "chunked" not in meta.get("HTTP_TRANSFER_ENCODING", "").lower() or "wsgi.input" not in meta:
        return request
    if meta.get("wsgi.input_terminated"):
        return meta["wsgi.input"]
    raise _Answered(_answer(411, "this server reads no chunks: send a Content-Length"))


def _answer(status: int, text: str = "") -> HttpResponse:
    response = HttpResponse(text, status=status, content_type="text/plain; charset=utf-8")
    response["X-Content-Type-Options"] = "nosniff"
    return response


class _Seen:
    """The ids that one view is done with. A cache that is away drops no repeat, and no call."""

    def __init__(self, view: Callable[..., Any], cache: str | None, seconds: float) -> None:
        self._name = f"{view.__module__}.{getattr(view, '__qualname__', type(view).__name__)}"
        self._cache, self._seconds = cache, seconds

    def key(self, request: HttpRequest, call: Call) -> str:
        """`""` where nothing is remembered. One sender's ids are not another's: view and path."""
        if self._cache is None or not call.id:
            return ""
        parts = "\n".join((self._name, request.path, call.id)).encode("utf-8", "replace")
        return f"webhooks-received-{hashlib.sha256(parts).hexdigest()}"

    def knows(self, key: str) -> bool:
        if not key:
            return False
        try:
            return caches[self._cache].get(key) is not None  # type: ignore[index]
        except Exception:
            return self._is_away()

    def note(self, key: str) -> None:
        if key:
            try:
                caches[self._cache].set(key, 1, self._seconds)  # type: ignore[index]
            except Exception:
                self._is_away()

    async def aknows(self, key: str) -> bool:
        if not key:
            return False
        try:
            return await caches[self._cache].aget(key) is not None  # type: ignore[index]
        except Exception:
            return self._is_away()

    async def anote(self, key: str) -> None:
        if key:
            try:
                await caches[self._cache].aset(key, 1, self._seconds)  # type: ignore[index]
            except Exception:
                self._is_away()

    def _is_away(self) -> bool:
        log.exception("the cache %s is away: repeats of webhooks are not dropped", self._cache)
        return False
