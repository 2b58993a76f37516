"""How many live webhooks are in each state that few are in, in one pass over those few."""

from collections import Counter
from datetime import datetime
from typing import Any, Self

from django.db.models import F, JSONField, Subquery, Value

from .states import SITE, WEBHOOKS
from .webhook import Webhook

_DELETED = -1  # before all places in the table


class Tally(Subquery):
    """Pairs of a place in the table of states and how many webhooks are there; `read` tells them.

    The keys of each set are read once, by the index that holds them alone, and a webhook counts for
    the first of its states. While the site is held, and all are in that state, for none.
    """

    template = (
        '(SELECT json_group_array(json_array("place", "many")) FROM (SELECT "place", COUNT(*) AS '
        '"many" FROM (SELECT MIN("two") AS "place" FROM (%(subquery)s) AS "every" GROUP BY "one") '
        'AS "each" GROUP BY "place") AS "counted")'
    )
    output_field = JSONField()

    @classmethod
    def at(cls, now: datetime) -> Self:
        sets: list[tuple[int, Any]] = [
            (place, rows)
            for place, state in enumerate(WEBHOOKS)
            if state.few and state.asked() and not SITE.asked()
            for rows in state.sets(now)
        ]
        sets.append((_DELETED, Webhook.objects.filter(deleted_at__isnull=False)))
        first, *others = [
            rows.order_by().values(one=F("pk"), two=Value(place)) for place, rows in sets
        ]
        return cls(first.union(*others, all=True).order_by() if others else first)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = self.template.replace(
            "json_group_array(json_array(", "jsonb_agg(jsonb_build_array("
        )
        return self.as_sql(compiler, connection, template=template, **context)

    @staticmethod
    def read(found: list[list[int]] | None) -> Counter[str]:
        """How many, by the keys of all states that few are in."""
        counts = Counter({state.key: 0 for state in WEBHOOKS if state.few})
        for place, many in found or ():
            if place != _DELETED:
                counts[WEBHOOKS[place].key] += many
        return counts
