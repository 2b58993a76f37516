"""Subscriptions: which events a webhook gets."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction

from .. import conf
from ..models import AuditEntry, EventType, Subscription, Webhook
from ..models.primary import clock, present
from ..models.subscription import grouped
from ..rules import filters
from ..rules.nearest import unknown_keys
from ..rules.subscriptions import (
    BELOW,
    CHANNELS_LIMIT,
    EVERY,
    ROWS_LIMIT,
    SUBSCRIPTIONS_LIMIT,
    TYPES_LIMIT,
    channel,
    pattern,
)
from .base import db_alias
from .errors import Invalid

FIELDS = ("types", "channels", "filter")


def subscriptions(webhook: Webhook) -> list[dict[str, Any]]:
    """The present subscriptions of a webhook, in their order, as `set_subscriptions` takes them;
    `filter` is `{}` where everything is taken."""
    found = saved_subscriptions(webhook)
    for one in found:
        one["filter"] = json.loads(one["filter"] or "{}")
    return found


def saved_subscriptions(webhook: Webhook) -> list[dict[str, Any]]:
    """The same as `judged_subscriptions` gives them. They hold whatever is not declared any more,
    and whoever has written them."""
    return grouped(Subscription.objects.present().filter(webhook=webhook.pk))


def set_subscriptions(
    webhook: Webhook, new: Sequence[Mapping[str, Any]], *, by: str = ""
) -> list[dict[str, Any]]:
    """Let a webhook get exactly these events from now on; returns what `subscriptions` then does.

    Each has `types` (1 to 100 patterns: `order.paid`, `order.*` for all below, `*` for all),
    `channels` (at most 10, none for any; one in common with the event suffices) and `filter` (on
    the payload, see docs/api.md). At most 20, together at most 1,000 patterns. What is the same as
    before goes on, the rest ends and begins anew: a subscription never changes. Raises Invalid;
    Webhook.DoesNotExist when it was deleted meanwhile.
    """
    wanted = judged_subscriptions(webhook, new)
    alias = db_alias()
    with transaction.atomic(using=alias):
        row = Webhook.objects.live().select_for_update(no_key=True).get(pk=webhook.pk)
        there = Subscription.objects.present().filter(webhook=row.pk)
        before = grouped(there)
        same = {
            number
            for number, (one, other) in enumerate(zip(wanted, before, strict=False))
            if one == other
        }
        if wanted != before:
            at = clock(alias, anew=True)  # one moment: what ends then and begins then leaves no gap
            there.exclude(number__in=same).update(valid_until=at)
            Subscription.objects.bulk_create(
                Subscription(
                    account_id=row.account_id,
                    webhook_id=row.pk,
                    number=number,
                    pattern=one_pattern,
                    channels=one["channels"],
                    filter=one["filter"],
                    valid_from=at,
                )
                for number, one in enumerate(wanted)
                if number not in same
                for one_pattern in one["types"]
            )
            Webhook.objects.filter(pk=row.pk).touch()
            AuditEntry.objects.note(by, "Changed subscriptions.", row)
    return subscriptions(row)


def end_subscriptions(webhook_id: str) -> None:
    """No more events for a webhook that is deleted."""
    there = Subscription.objects.present().filter(webhook=webhook_id)
    there.update(valid_until=present(db_alias()))


# --- judging -------------------------------------------------------------------------------------


def judged_subscriptions(webhook: Webhook, new: Any) -> list[dict[str, Any]]:
    """As `grouped` gives them. Raises Invalid."""
    if isinstance(new, str | bytes) or not isinstance(new, Sequence):
        raise Invalid({"subscriptions": ["Must be a list."]})
    if len(new) > SUBSCRIPTIONS_LIMIT:
        raise Invalid({"subscriptions": [f"Must be at most {SUBSCRIPTIONS_LIMIT}."]})
    details: dict[str, Any] = {}
    judged = []
    for place, one in enumerate(new):
        problems, found = _one(one)
        judged.append(found)
        if problems:
            details[str(place)] = problems
    if not details and sum(len(one["types"]) for one in judged) > ROWS_LIMIT:
        raise Invalid({"subscriptions": [f"Must have at most {ROWS_LIMIT:,} types together."]})
    if not details and conf.settings.event_types_declared:
        details = _undeclared(webhook, judged)
    if details:
        raise Invalid({"subscriptions": details})
    return judged


def _one(value: Any) -> tuple[Any, dict[str, Any]]:
    """What is wrong with a subscription, and what it is."""
    if not isinstance(value, Mapping):
        return ["Must be an object."], {}
    details: dict[str, Any] = dict(unknown_keys(map(str, value), FIELDS, "field"))
    types: Any = value.get("types")
    channels: Any = value.get("channels", ())
    if problems := _list_problems(types, pattern, TYPES_LIMIT, least=1):
        details["types"] = problems
    if problems := _list_problems(channels, channel, CHANNELS_LIMIT):
        details["channels"] = problems
    text = ""
    try:
        compiled = filters.compile_filter(value.get("filter", {}))
        text = compiled.text if compiled.source else ""
    except filters.InvalidFilter as error:
        details["filter"] = error.problems
    if details:
        return details, {}
    return None, {
        "types": list(dict.fromkeys(types)),
        "channels": list(dict.fromkeys(channels)),
        "filter": text,
    }


def _list_problems(values: Any, judge: Any, most: int, *, least: int = 0) -> Any:
    if isinstance(values, str | bytes) or not isinstance(values, Sequence):
        return ["Must be a list."]
    if not least <= len(values) <= most:
        return [f"Must be {least} to {most} of them."]
    problems = {}
    for place, value in enumerate(values):
        try:
            judge(value)
        except ValueError as error:
            problems[str(place)] = [str(error)]
    return problems


def _undeclared(webhook: Webhook, judged: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The patterns that match no declared type."""
    there = EventType.objects.offered_to(webhook.account_id)
    names = list(there.values_list("name", flat=True))
    known = {EVERY, *names}
    for name in names:
        segments = name.split(".")
        known |= {".".join(segments[:end]) + BELOW for end in range(1, len(segments))}
    details: dict[str, Any] = {}
    for number, one in enumerate(judged):
        problems = {
            str(place): ["Matches no declared type."]
            for place, name in enumerate(one["types"])
            if name not in known
        }
        if problems:
            details[str(number)] = {"types": problems}
    return details
