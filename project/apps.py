import sys
from typing import Any

from django.apps import AppConfig, apps
from django.contrib.admin import apps as admin
from django.core.signals import got_request_exception
from django.db.models.signals import post_migrate, post_save


class ConsoleConfig(admin.AdminConfig):
    default = False
    default_site = "project.console.Console"


class ProjectConfig(AppConfig):
    default = True
    name = "project"

    def ready(self) -> None:
        # After the app of the groups, which is migrated after ours: our permissions exist by then.
        post_migrate.connect(make_roles, sender=apps.get_app_config("auth"))
        post_save.connect(note_staff, sender=apps.get_model("admin", "LogEntry"))
        got_request_exception.connect(note_fault)


def make_roles(using: str, **kwargs: Any) -> None:
    from webhooks_app.roles import make_roles

    make_roles(using)


def note_fault(**kwargs: Any) -> None:
    """A page that the database kept from being shown counts among its errors; the API counts its
    own."""
    from webhooks_app.engine import faults
    from webhooks_app.engine.store.errors import is_away, is_locked

    error = sys.exc_info()[1]
    if isinstance(error, Exception) and (is_away(error) or is_locked(error)):
        faults.note()


def note_staff(instance: Any, raw: bool, **kwargs: Any) -> None:
    """What is done to users and groups in the admin stands in the one list of changes too."""
    from webhooks_app.models import Actor, AuditEntry
    from webhooks_app.models.primary import clock

    if raw or instance.content_type is None or instance.content_type.app_label != "auth":
        return
    action = "Deleted." if instance.is_deletion() else instance.get_change_message()
    AuditEntry.objects.create(
        at=clock(AuditEntry.objects.db),
        by=Actor.of(instance.user, AuditEntry.Door.ADMIN),
        door=AuditEntry.Door.ADMIN,
        action=action[:255],
        kind=instance.content_type.model,
        target=str(instance.object_id or "")[:64],
        name=instance.object_repr[:255],
    )
