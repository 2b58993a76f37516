"""Which deliveries: one vocabulary for the console's lists and for the jobs that work on them.

The names are those of the API's query parameters, where it has them. Values are texts, so that a
link and a stored job can hold them.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import (
    BinaryField,
    Func,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
)
from django.db.models.lookups import Exact, GreaterThan

from ..rules.ids import first_id, is_id, read_moment
from ..rules.subscriptions import channel
from .account import Account
from .delivery import Attempt, Delivery, ended_before, ended_since
from .states import deliveries_in
from .webhook import Webhook

Condition = Callable[[str, datetime], Q]  # of a value, at a moment; raises ValueError

STATUS_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")


TEXT_LIMIT = 2048  # characters of a word that rows are looked for by
IDS_AHEAD = timedelta(hours=1)  # that the id of a delivery may be ahead of its end


def unfit(text: str) -> bool:
    """Whether no row can be looked for by a text: it is too long, or holds a NUL, on which
    PostgreSQL raises."""
    return len(text) > TEXT_LIMIT or "\0" in text


STATES = (*Delivery.State.values, "held", "waiting", "retrying", "due", "later")


class Place(Func):
    """Where some bytes begin in others, from 1; 0 where they do not occur."""

    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        needle, hay = self.get_source_expressions()
        turned = Func(hay, needle, function="INSTR")
        return turned.as_sql(compiler, connection)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(
            compiler, connection, template="POSITION(%(expressions)s)", arg_joiner=" IN "
        )


def payload_holds(text: str) -> Q:
    """The payload contains a text, as it stands there or as JSON writes it."""
    forms = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    condition = Q()
    for form in sorted(forms):
        needle = Value(form.encode("utf-8", "replace"), output_field=BinaryField())
        condition |= Q(GreaterThan(Place(needle, "payload"), 0))
        condition |= Q(event__isnull=False) & Q(GreaterThan(Place(needle, "event__payload"), 0))
    return condition


def _webhook(value: str, now: datetime) -> Q:
    if not is_id(value):
        raise ValueError(value)
    return Q(webhook=value)


def _at_host(value: str) -> Q:
    return Q(webhook__in=Webhook.objects.at_host(value).order_by().values("pk"))


def _of_own_account(value: str, now: datetime) -> Q:
    theirs = Subquery(Account.objects.filter(name=value).values("pk"))
    return Webhook.objects.filter(account=theirs).as_owners()


def _of_own_host(value: str, now: datetime) -> Q:
    return Webhook.objects.at_host(value).as_owners()


def _of_own_type(value: str, now: datetime) -> Q:
    """Of an attempt."""
    own = Subquery(Delivery.objects.filter(pk=OuterRef("delivery")).values("type"))
    return Q(Exact(own, Value(value)))


def _event(value: str, now: datetime) -> Q:
    if not is_id(value):
        raise ValueError(value)
    return Q(event=value) & Q(event__isnull=False)


def _channel(value: str, now: datetime) -> Q:
    return Q(channels__hold=channel(value))


def _state(value: str, now: datetime) -> Q:
    if value not in STATES:
        raise ValueError(value)
    return deliveries_in(value, now)


def _status(column: str) -> Condition:
    """A status in a column: 503, 5xx; `none` where there was no answer."""

    def read(value: str, now: datetime) -> Q:
        if value == "none":
            return Q(**{f"{column}__isnull": True})
        if value in STATUS_CLASSES:
            first = int(value[0]) * 100
            return Q(**{f"{column}__gte": first, f"{column}__lt": first + 100})
        if len(value) == 3 and value.isascii() and value.isdecimal() and value[0] != "0":
            return Q(**{column: int(value)})
        raise ValueError(value)

    return read


def _kind(value: str, now: datetime) -> Q:
    failed = Attempt.objects.failed().filter(kind=value, delivery__isnull=False)
    return Q(pk__in=failed.order_by().values("delivery"))


def _failed_until(value: str, now: datetime) -> Q:
    """None gives up before it is made, so that those made later need not be read; where a clock
    was set back, an id may say a later time than the end."""
    moment = read_moment(value)
    made = Q(pk__lt=first_id(moment, IDS_AHEAD))
    return made & Q(state=Delivery.State.FAILED, finished_at__lt=moment)


CONDITIONS: dict[str, Condition] = {
    "webhook": _webhook,
    "account": lambda value, now: Q(
        webhook__in=Webhook.objects.filter(account__name=value).order_by().values("pk")
    ),
    "host": lambda value, now: _at_host(value),
    "event": _event,
    "state": _state,
    # SQLite takes a partial index only where its condition stands in the query word by word.
    "type": lambda value, now: Q(type=value) & ~Q(type=""),
    "reference": lambda value, now: Q(reference=value) & ~Q(reference=""),
    "status": _status("last_status"),  # of the last answer
    "kind": _kind,  # an attempt failed so
    "since": lambda value, now: Q(pk__gte=first_id(read_moment(value))),  # made from then on
    "until": lambda value, now: Q(pk__lt=first_id(read_moment(value))),
    "failed_since": lambda value, now: Q(
        state=Delivery.State.FAILED, finished_at__gte=read_moment(value)
    ),
    "failed_until": _failed_until,
    "payload": lambda value, now: payload_holds(value),
}
# The same of rows that are looked through, so many and no more: a customer or a host may have more
# webhooks than those are rows, and a database that begins with the webhooks reads them all.
LOOKED_THROUGH: dict[str, Condition] = {
    **CONDITIONS,
    "account": _of_own_account,
    "host": _of_own_host,
}
# Of events, in their list.
OF_EVENTS: dict[str, Condition] = {
    "account": lambda value, now: Q(account__name=value),
    "type": lambda value, now: Q(type=value),
    "reference": lambda value, now: Q(reference=value) & ~Q(reference=""),
    "subject": lambda value, now: Q(subject=value) & ~Q(subject=""),
    "event_id": lambda value, now: Q(key=value) & Q(key__isnull=False),
    "channel": _channel,
    "since": lambda value, now: Q(pk__gte=first_id(read_moment(value))),
    "until": lambda value, now: Q(pk__lt=first_id(read_moment(value))),
}
# The same words of attempts, in the lists that show them.
OF_ATTEMPTS: dict[str, Condition] = {
    "account": _of_own_account,
    "host": _of_own_host,
    "type": _of_own_type,
    "status": _status("status"),
    "since": lambda value, now: ended_since(read_moment(value)),
    "until": lambda value, now: ended_before(read_moment(value)),
}
MOMENTS = ("since", "until", "failed_since", "failed_until")


def condition(
    name: str, value: str, now: datetime, words: Mapping[str, Condition] = CONDITIONS
) -> Q:
    """What one word of a vocabulary means. Raises ValueError for one that means nothing."""
    if name not in words or unfit(value):
        raise ValueError(name)
    return words[name](value, now)


def select(words: Mapping[str, str], now: datetime) -> "QuerySet[Delivery]":
    """The deliveries that all words hold for. Raises ValueError."""
    rows: QuerySet[Delivery] = Delivery.objects.all()
    for name, value in words.items():
        rows = rows.filter(condition(name, value, now))
    return rows
