"""System checks: what `manage.py check` says about the app's settings."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError, connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder
from django.utils.module_loading import import_string

from . import conf

HEADS = "webhooks_app.W005"


@register(Tags.compatibility)
def unknown_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    return [
        Warning(
            f"{name} is not a setting of webhooks_app.",
            hint="Is it a typing mistake? Known: " + ", ".join(sorted(conf.SETTINGS)),
            id="webhooks_app.W001",
        )
        for name in conf.unknown()
    ]


@register(Tags.security)
def derived_key(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if getattr(settings, "WEBHOOKS_ENCRYPTION_KEYS", None) or not settings.DEBUG:
        return []
    return [
        Warning(
            "WEBHOOKS_ENCRYPTION_KEYS is not set; under DEBUG the key is derived from SECRET_KEY.",
            hint="Set it before real secrets are stored.",
            id="webhooks_app.W002",
        )
    ]


@register(Tags.compatibility)
def notices_without_mail(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if not conf.notice_emails() or not settings.EMAIL_BACKEND.endswith("dummy.EmailBackend"):
        return []
    return [
        Warning(
            "WEBHOOKS_NOTICE_EMAILS is set, but mail is thrown away.",
            hint="Set EMAIL_URL (in a project of your own: Django's EMAIL_BACKEND).",
            id="webhooks_app.W004",
        )
    ]


@register(Tags.compatibility)
def naive_moments(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if settings.USE_TZ:
        return []
    return [
        Error(
            "USE_TZ is False: webhooks_app needs moments with a time zone.",
            hint="Set USE_TZ = True.",
            id="webhooks_app.E001",
        )
    ]


@register(Tags.compatibility)
def sqlite_time_zone(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The worker compares moments in the form in which Django writes them for UTC."""
    from .models import Delivery

    alias = router.db_for_write(Delivery)
    config = settings.DATABASES[alias]
    zone = config.get("TIME_ZONE")
    if not str(config.get("ENGINE", "")).endswith("sqlite3") or zone in (None, "UTC"):
        return []
    return [
        Error(
            f"DATABASES[{alias!r}]['TIME_ZONE'] is {zone!r}: the worker would take what is due "
            "for due at another time.",
            hint="Leave TIME_ZONE out of this database; the site's own TIME_ZONE may be any.",
            id="webhooks_app.E002",
        )
    ]


@register(Tags.database)
def made_before_the_first_release(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """`migrate` would find nothing to do there, and every query would fail later."""
    return [
        Error(
            f"The database {alias!r} was made by a version before 0.1.0, whose tables no release "
            "has.",
            hint="Start over with a new database.",
            id="webhooks_app.E003",
        )
        for alias in databases or ()
        if _is_older_than_releases(connections[alias])
    ]


def _is_older_than_releases(connection: BaseDatabaseWrapper) -> bool:
    try:
        recorder = MigrationRecorder(connection)
        if ("webhooks_app", "0001_initial") not in recorder.applied_migrations():
            return False
        with connection.cursor() as cursor:
            table = connection.introspection.get_table_description(cursor, "webhooks_app_attempt")
    except DatabaseError:
        return False  # it is away, or another database has our tables
    return "ended_at" not in {column.name for column in table}


@register(Tags.database)
def sqlite_immediate(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    for alias, config in settings.DATABASES.items():
        if not str(config.get("ENGINE", "")).endswith("sqlite3"):
            continue
        if str(config.get("OPTIONS", {}).get("transaction_mode", "")).upper() != "IMMEDIATE":
            messages.append(
                Warning(
                    f"The SQLite database {alias!r} does not begin transactions IMMEDIATE: "
                    "two writers may fail with 'database is locked'.",
                    hint="Set OPTIONS['transaction_mode'] = 'IMMEDIATE' (and WAL).",
                    id="webhooks_app.W003",
                )
            )
    return messages


@register(Tags.security, deploy=True)
def limited_heads(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Django parses some headers in time that grows with the square of their length, before any
    view: what is served must not hand it large ones."""
    named = {
        name: path
        for name in ("ASGI_APPLICATION", "WSGI_APPLICATION")
        if (path := getattr(settings, name, None))
    }
    open_ones = [name for name, path in named.items() if not _limits_heads(path)]
    if named and not open_ones:
        return []
    return [
        Warning(
            f"{' and '.join(open_ones) or 'What is served'} is not seen to limit the heads of "
            "requests: 60 KB of a single header stop a process for seconds.",
            hint="Wrap it in webhooks_app.limits.ASGIHeadLimit or WSGIHeadLimit, or have a proxy "
            "in front refuse heads of more than 16 KiB and any Content-Type or Cookie of more "
            "than 4 KiB; then silence this check.",
            id=HEADS,
        )
    ]


def _limits_heads(path: str) -> bool:
    try:
        return bool(getattr(import_string(path), "limits_head", False))
    except Exception:  # whatever a host's own module raises
        return False
