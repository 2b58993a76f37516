"""System checks: what `manage.py check` says about the app's settings."""

from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string

from . import conf

HEADS = "webhooks_app.W005"
OURS = "webhooks"  # tag of what our commands check: nothing for which the site is imported first
SQLITE = """OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
}"""


@register(OURS, Tags.compatibility)
def unreadable_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    return [Error(problem, id="webhooks_app.E004") for problem in conf.problems()]


@register(OURS, Tags.compatibility)
def unknown_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    return [
        Warning(
            f"{name} is not a setting of webhooks_app.",
            hint="Is it a typing mistake? Known: " + ", ".join(sorted(conf.SETTINGS)),
            id="webhooks_app.W001",
        )
        for name in conf.unknown()
    ]


@register(OURS, Tags.security)
def derived_key(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if _set("WEBHOOKS_ENCRYPTION_KEYS") or not settings.DEBUG:
        return []
    return [
        Warning(
            "WEBHOOKS_ENCRYPTION_KEYS is not set; under DEBUG the key is derived from SECRET_KEY.",
            hint="Set it before real secrets are stored.",
            id="webhooks_app.W002",
        )
    ]


def _mail_backend() -> str:
    try:
        return str(settings.EMAIL_BACKEND)
    except AttributeError:  # from Django 6.1 on, where MAILERS takes its place
        mailers = getattr(settings, "MAILERS", {})
        return str(mailers.get("default", {}).get("BACKEND", ""))


@register(OURS, Tags.compatibility)
def notices_without_mail(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    if not _set("WEBHOOKS_NOTICE_EMAILS") or not _mail_backend().endswith("dummy.EmailBackend"):
        return []
    return [
        Warning(
            "WEBHOOKS_NOTICE_EMAILS is set, but mail is thrown away.",
            hint="Set EMAIL_URL (in a project of your own: Django's EMAIL_BACKEND or MAILERS).",
            id="webhooks_app.W004",
        )
    ]


@register(OURS, Tags.compatibility)
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


@register(OURS, Tags.compatibility)
def sqlite_time_zone(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The worker compares moments in the form in which Django writes them for UTC."""
    alias = _ours()
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


@register(OURS, Tags.database)
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


@register(OURS, Tags.database)
def sqlite_writers(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Of the database that holds our tables."""
    alias = _ours()
    config = settings.DATABASES[alias]
    if not str(config.get("ENGINE", "")).endswith("sqlite3"):
        return []
    options = config.get("OPTIONS", {})
    found = []
    if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
        found.append("begin transactions IMMEDIATE")
    if alias in (databases or ()) and _journal(connections[alias]) == "delete":
        found.append("write ahead (WAL)")
    if not found:
        return []
    return [
        Warning(
            f"The SQLite database {alias!r} does not {' and does not '.join(found)}: two writers "
            "may fail with 'database is locked'.",
            hint=f"Set in DATABASES[{alias!r}]: {SQLITE}",
            id="webhooks_app.W003",
        )
    ]


def _journal(connection: BaseDatabaseWrapper) -> str:
    try:
        with connection.cursor() as cursor:
            return str(cursor.execute("PRAGMA journal_mode").fetchone()[0])
    except DatabaseError:
        return ""


@register(Tags.compatibility)
def missing_apps(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    if not apps.is_installed("rest_framework"):
        messages.append(
            Warning(
                "rest_framework is not in INSTALLED_APPS: in a browser the API answers JSON, "
                "without its pages.",
                hint="Add 'rest_framework', or silence this check.",
                id="webhooks_app.W006",
            )
        )
    if not apps.is_installed("django.contrib.admin"):
        messages.append(
            Info(
                "django.contrib.admin is not in INSTALLED_APPS: there is no console.",
                hint="The commands `webhooks status` and `webhooks explain` say why nothing is "
                "sent. Silence this check where that is enough.",
                id="webhooks_app.I001",
            )
        )
    if _is_included("webhooks_docs:docs") and not apps.is_installed("drf_spectacular_sidecar"):
        messages.append(
            Warning(
                "webhooks_app.urls_docs is included, but its scripts are not served.",
                hint="Add 'drf_spectacular_sidecar' to INSTALLED_APPS.",
                id="webhooks_app.W007",
            )
        )
    if _is_included("webhooks_operations:metrics") and _set("WEBHOOKS_METRICS_TOKEN"):
        try:
            import prometheus_client  # noqa: F401
        except ImportError:
            messages.append(
                Warning(
                    "WEBHOOKS_METRICS_TOKEN is set, but /metrics cannot be answered.",
                    hint="pip install 'webhooks-console[metrics]'",
                    id="webhooks_app.W008",
                )
            )
    return messages


def _set(name: str) -> Any:
    """A setting as it stands there; whether it can be read is another check's business."""
    return getattr(settings, name, None)


def _is_included(name: str) -> bool:
    try:
        reverse(name)
    except NoReverseMatch:
        return False
    return True


@register(OURS, Tags.compatibility)
def transactions_of_two_databases(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    alias = _ours()
    if alias == DEFAULT_DB_ALIAS:
        return []
    return [
        Info(
            f"Deliveries are stored in the database {alias!r}: they do not commit with rows of "
            f"{DEFAULT_DB_ALIAS!r}, but each by itself.",
            hint="To have both or neither, let the router keep webhooks_app where your own rows "
            "are; else silence this check.",
            id="webhooks_app.I002",
        )
    ]


@register(OURS, Tags.database)
def nobody_sends(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    from .models import Delivery, Worker

    alias = _ours()
    if alias not in (databases or ()):
        return []
    try:
        waiting = Delivery.objects.using(alias).pending().exists()
        if not waiting or Worker.objects.using(alias).exists():
            return []
    except DatabaseError:
        return []  # away, or not migrated yet
    return [
        Warning(
            "Deliveries wait, and no worker has ever been seen.",
            hint="Start `manage.py webhooks deliver` beside the web server, and keep it running.",
            id="webhooks_app.W009",
        )
    ]


def _ours() -> str:
    from .models import Delivery

    return router.db_for_write(Delivery)


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
