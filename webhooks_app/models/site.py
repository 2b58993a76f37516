"""SiteHold: the whole installation calls nobody, until its operator lets it go on."""

import time

from django.db import connections, models, router
from django.db.models import Q
from django.utils import timezone

from .primary import PrimaryModel

KEPT = 0.1  # seconds after which a process asks once more whether the site is held


class SiteHold(PrimaryModel):
    """One row while the site is held, none while it is not. Nothing of any webhook is changed by
    it, so that what people paused stays so when it goes."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    since = models.DateTimeField(default=timezone.now)
    by = models.CharField(max_length=150, blank=True, default="")
    note = models.CharField(max_length=255, blank=True, default="")

    class Meta:
        default_permissions = ()
        constraints = [models.CheckConstraint(condition=Q(id=1), name="sitehold_one")]

    def __str__(self) -> str:
        return f"held by {self.by or 'nobody in particular'}"


def is_held() -> bool:
    """Whether the site is held, as of KEPT seconds ago at the most: a page asks for each of its
    rows. Raises DatabaseError."""
    alias = router.db_for_write(SiteHold)
    now = time.monotonic()
    asked, held = _known.get(alias, (-KEPT, False))
    if now - asked < KEPT:
        return held
    connection = connections[alias]
    connection.ensure_connection()
    with connection.wrap_database_errors:
        # Past Django's cursor: no query of whoever happens to be the first to ask.
        held = connection.connection.execute(_ASKED).fetchone() is not None
    _known[alias] = now, held
    return held


def forget() -> None:
    """Ask anew: this process has changed it."""
    _known.clear()


_ASKED = f"SELECT 1 FROM {SiteHold._meta.db_table}"  # noqa: S608
_known: dict[str, tuple[float, bool]] = {}  # by alias: when it was asked, monotonic, and said
