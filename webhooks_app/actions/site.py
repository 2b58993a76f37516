"""The installation as a whole: nobody is called, until somebody lets it go on."""

from django.db import IntegrityError, transaction

from ..engine import transitions
from ..models import AuditEntry, SiteHold, site
from ..models.primary import clock
from .base import db_alias


def hold_all(*, note: str = "", by: str = "") -> bool:
    """Call nobody until `release_all`: deliveries are stored and held, verifications wait,
    interactions, verifications and tests that are asked for raise NotCallable (`site`).

    Every process notices within 0.2 s; what is under way then goes on to its end. `note`: why, 255
    characters of it are kept. False when the site is held already: the first note stays. Raises
    nothing of its own.
    """
    try:
        with transaction.atomic(using=db_alias()):
            SiteHold.objects.create(since=clock(db_alias()), by=by[:150], note=note[:255])
            AuditEntry.objects.note(by, _words(note), None)
    except IntegrityError:
        if not SiteHold.objects.exists():
            raise  # it is no other hold that was in the way
        return False
    finally:
        site.forget()
    return True


def _words(note: str) -> str:
    return f"Held the site: {note}" if note else "Held the site."


def release_all(*, by: str = "") -> bool:
    """Go on: what was held by `hold_all` alone goes out now; what staff paused stays so. False when
    the site is not held. Raises nothing of its own."""
    with transaction.atomic(using=db_alias()):
        released, _ = SiteHold.objects.all().delete()
        if released:
            AuditEntry.objects.note(by, "Released the site.", None)
            transitions.announce(db_alias())
    site.forget()
    return bool(released)


def site_hold() -> SiteHold | None:
    """Since when, by whom and why the site is held; None while it is not."""
    return SiteHold.objects.first()
