"""Limits of the API: requests a minute by token and by address, wrong tokens by address.

Requests are counted in the default cache, so that none costs a write to the database; whoever runs
several web processes shares the counts by a shared cache (`CACHE_URL` of the standalone site). A
cache that does not answer limits nobody. Wrong tokens are few and are counted in the database.
"""

import logging
import time

from django.core.cache import cache
from django.http import HttpRequest

from .. import conf
from ..models import FailedAuthentication
from ..rules import clients
from .errors import Problem

logger = logging.getLogger("webhooks_app.api")

MINUTE = 60  # seconds


def client_address(request: HttpRequest) -> str:
    """Whom limits count against; see `rules.clients`."""
    return clients.client_address(
        request.META.get("REMOTE_ADDR") or "",
        request.META.get("HTTP_X_FORWARDED_FOR", ""),
        conf.trusted_proxies(),
    )


def count_address(request: HttpRequest) -> None:
    """Raises Problem 429 past the limit of the address."""
    _count(f"address:{client_address(request)}", conf.rate_per_address(), "your address")


def count_caller(key: str) -> None:
    """Raises Problem 429 past the limit of the token, or of the user of a session."""
    _count(key, conf.rate_per_token(), "this token or user")


def wrong_token(request: HttpRequest) -> None:
    """Note a token that is none. Raises Problem 429 when there were too many from the address.

    A good token is never refused for the bad ones of others behind the same address: its 256 random
    bits are not found by trying, and this limit only spares the database.
    """
    limit = conf.failed_authentications()
    if limit:
        wait = FailedAuthentication.objects.note(client_address(request), limit)
        if wait:
            raise Problem(429, "Too many wrong access tokens from your address.", retry_after=wait)


def _count(key: str, limit: int, whose: str) -> None:
    if not limit:
        return
    now = time.time()
    window = int(now // MINUTE)
    name = f"webhooks:rate:{key}:{window}"
    try:
        try:
            count = cache.incr(name)
        except ValueError:  # the first of this minute
            count = 1 if cache.add(name, 1, 2 * MINUTE) else cache.incr(name)
    except Exception as error:  # whatever the cache's own library raises
        logger.warning("the cache does not count requests: %s", type(error).__name__)
        return
    if count > limit:
        raise Problem(
            429,
            f"More than {limit:,} requests a minute from {whose}.",
            retry_after=(window + 1) * MINUTE - now,
        )
