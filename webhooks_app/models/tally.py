"""How many live webhooks are in each state that few are in, in one pass over those few."""

from collections import Counter
from datetime import datetime
from typing import Any, Self

from django.db.models import F, Func, JSONField, QuerySet, Subquery, Value

from .json_rows import on_postgresql
from .states import SITE, WEBHOOKS
from .webhook import Webhook

_DELETED = -1  # before all places in the table


class _Sets(Subquery):
    template = '(%(subquery)s) AS "every"'


class _Among(Subquery):
    empty_result_set_value = NotImplemented  # no SQL can ask for none: the tally answers then


class Tally(Func):
    """Pairs of a place in the table of states and how many webhooks are there; `read` tells them.

    The keys of each set are read once, by the index that holds them alone, and a webhook counts for
    the first of its states. While the site is held, and all are in that state, for none.
    """

    template = (
        '(SELECT json_group_array(json_array("place", "many")) FROM (SELECT "place", COUNT(*) AS '
        '"many" FROM (SELECT MIN("two") AS "place" FROM %(expressions)s GROUP BY "one") AS "each" '
        'GROUP BY "place") AS "counted")'
    )
    arg_joiner = ' WHERE "one" IN '
    output_field = JSONField()
    empty_result_set_value = None  # among no webhook at all

    @classmethod
    def at(cls, now: datetime, live: "QuerySet[Webhook] | None" = None) -> Self:
        """`live`: of these alone."""
        sets: list[tuple[int, QuerySet[Any]]] = [
            (_DELETED, Webhook.objects.filter(deleted_at__isnull=False))
        ]
        for place, state in enumerate(WEBHOOKS):
            if state.few and state.asked() and not SITE.asked():
                sets += [(place, rows) for rows in state.sets(now)]
        keys = [rows.order_by().values(one=F("pk"), two=Value(place)) for place, rows in sets]
        every = _Sets(keys[0].union(*keys[1:], all=True).order_by() if keys[1:] else keys[0])
        among = [] if live is None else [_Among(live.order_by().values("pk"))]
        return cls(every, *among)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = on_postgresql(self.template)
        return self.as_sql(compiler, connection, template=template, **context)

    @staticmethod
    def read(found: list[list[int]] | None) -> Counter[str]:
        """How many, by the keys of all states that few are in."""
        counts = Counter({state.key: 0 for state in WEBHOOKS if state.few})
        for place, many in found or ():
            if place != _DELETED:
                counts[WEBHOOKS[place].key] += many
        return counts
