"""Counter: totals of the whole installation that never fall; Position: the last one given. Written
by the engine only."""

from django.db import models

from ..fields import IdField
from ..rules.ids import ID_LENGTH
from .primary import PrimaryModel


class Counter(PrimaryModel):
    """How often something happened since the installation began: `engine.store.counters` and
    `engine.maintenance.accepted` say what. Nothing takes from it: no retention, deletion, recount
    or retry.

    The total is the sum over `slot`: whoever writes has a row of its own, or shares it with few.
    """

    pk = models.CompositePrimaryKey("name", "kind", "slot")
    name = models.CharField(max_length=12)
    kind = models.CharField(max_length=16, blank=True, default="")  # of error; "" for success
    slot = models.PositiveSmallIntegerField()
    count = models.PositiveBigIntegerField(default=0, db_default=0)
    # Of what is counted by looking: the last delivery that is counted.
    place = IdField(max_length=ID_LENGTH, blank=True, default="", db_default="")

    class Meta:
        default_permissions = ()
        ordering = ["name", "kind", "slot"]

    def __str__(self) -> str:
        return f"{self.name} {self.kind}: {self.count}"


class Position(PrimaryModel):
    """SQLite: the last position that a delivery got, in the one row there is. PostgreSQL has a
    sequence, POSITIONS, for it."""

    id = models.PositiveSmallIntegerField(primary_key=True)
    last = models.BigIntegerField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.last)


POSITIONS = "webhooks_app_delivery_positions"
