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
from ..rules.client_address import client_address as address_of
from .errors import Problem

logger = logging.getLogger("webhooks_app.api")

MINUTE = 60  # seconds


def client_address(request: HttpRequest) -> str:
    """Whom limits count against; see `rules.client_address`."""
    return address_of(
        request.META.get("REMOTE_ADDR") or "",
        request.META.get("HTTP_X_FORWARDED_FOR", ""),
        conf.settings.trusted_proxies,
    )


# How many of some requests are within a limit, and what the others are told.
Counted = tuple[int, Problem | None]


def count_address(request: HttpRequest) -> None:
    """Raises Problem 429 past the limit of the address."""
    _raise(address_counts(client_address(request)))


def address_counts(address: str, number: int = 1) -> Counted:
    return _count(f"address:{address}", conf.settings.rate_per_address, "your address", number)


def count_caller(key: str) -> None:
    """Raises Problem 429 past the limit of the token, or of the user of a session."""
    _raise(caller_counts(key))


def caller_counts(key: str, number: int = 1) -> Counted:
    return _count(key, conf.settings.rate_per_token, "this token or user", number)


def _raise(counted: Counted) -> None:
    within, refusal = counted
    if not within and refusal is not None:
        raise refusal


def wrong_token(request: HttpRequest) -> None:
    """Note a token that is none. Raises Problem 429 when there were too many from the address.

    A good token is never refused for the bad ones of others behind the same address: its 256 random
    bits are not found by trying, and this limit only spares the database.
    """
    limit = conf.settings.failed_authentications
    if limit:
        wait = FailedAuthentication.objects.note(client_address(request), limit)
        if wait:
            raise Problem(429, "Too many wrong access tokens from your address.", retry_after=wait)


def _count(key: str, limit: int, whose: str, number: int) -> Counted:
    if not limit:
        return number, None
    now = time.time()
    window = int(now // MINUTE)
    name = f"webhooks:rate:{key}:{window}"
    try:
        try:
            count = cache.incr(name, number)
        except ValueError:  # the first of this minute
            added = cache.add(name, number, 2 * MINUTE)
            count = number if added else cache.incr(name, number)
    except Exception as error:  # whatever the cache's own library raises
        logger.warning("the cache does not count requests: %s", type(error).__name__)
        return number, None
    within = min(max(limit - (count - number), 0), number)
    if within == number:
        return number, None
    return within, Problem(
        429,
        f"More than {limit:,} requests a minute from {whose}.",
        retry_after=(window + 1) * MINUTE - now,
    )
