"""The limits of a webhook, as they are asked for and as its row keeps them; and how many webhooks
and access tokens an account may have."""

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet

from .. import conf
from ..models import AccessToken, Account, Webhook, Worker
from ..rules import schedules
from ..rules.rates import WORDS, Rate
from .base import db_alias, is_number
from .errors import Invalid, OlderWorkers

# The version whose workers keep rates and orders, and call with tokens and certificates.
SINCE = (0, 2)


def columns(asked: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The columns of a webhook that a rate limit and a retry schedule stand for, and what is wrong
    with them: sentences by the names of the API. Whatever else is asked for stays as it is."""
    changes, details = dict(asked), {}
    if "rate_limit" in changes:
        limit = changes.pop("rate_limit")
        try:
            rate = None if limit is None else Rate.read(limit if isinstance(limit, str) else "")
            changes["rate_count"] = rate and rate.count
            changes["rate_seconds"] = rate and rate.seconds
        except ValueError:
            details["rateLimit"] = [WORDS]
    if "retry_schedule" in changes:
        schedule = changes["retry_schedule"]
        if schedule is not None:
            if problems := schedules.problems(schedule):
                details["retrySchedule"] = problems
                del changes["retry_schedule"]
            else:
                changes["retry_schedule"] = schedules.text(tuple(schedule))
    return changes, details


def breaker_problems(webhook: Webhook) -> dict[str, Any]:
    """What is wrong with its breaker, by the names of the API."""
    details = {}
    after, off = webhook.breaker_after, webhook.breaker_off
    if not (isinstance(after, int) and is_number(after) and 3 <= after <= 100):
        details["after"] = ["Must be a whole number from 3 to 100."]
    if not isinstance(off, bool):
        details["off"] = ["Must be true or false."]
    return details


def would_change(webhook: Webhook, **asked: Any) -> bool:
    """Whether `update_webhook` would write anything: a rate may be written in several ways."""
    changes, details = columns(asked)
    return bool(details) or any(value != getattr(webhook, name) for name, value in changes.items())


def refuse_beside_older_workers() -> None:
    """A worker of an older version knows no rate, no order, no access token and no certificate, and
    would call as if there were none. Raises OlderWorkers."""
    if older := older_workers():
        raise OlderWorkers(older)


def older_workers() -> list[str]:
    """Host and PID of the live workers of versions before SINCE, for staff to see."""
    older = Worker.objects.using(db_alias()).alive().before(SINCE)
    return [f"{worker.host}:{worker.pid}" for worker in older]


def webhooks_problem(account: Account) -> str:
    """Why an account may have no more webhooks; `""` where it may."""
    rows = Webhook.objects.for_account(account.pk)
    return _full(account, rows, conf.settings.webhooks_per_account, "webhooks")


def tokens_problem(account: Account) -> str:
    """The same of access tokens."""
    rows = AccessToken.objects.usable().filter(account=account.pk)
    return _full(account, rows, conf.settings.tokens_per_account, "access tokens")


def _full(account: Account, rows: "QuerySet[Any]", most: int, what: str) -> str:
    if not most or account._state.adding or rows.order_by()[:most].count() < most:
        return ""
    return f"The account has {most:,} {what}, and no more may be."


def refuse(problem: str) -> None:
    """Raises Invalid, where there is a problem with the account."""
    if problem:
        raise Invalid({"account": [problem]})
