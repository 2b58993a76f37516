"""/healthz: the process answers. /readyz: the database does too, and its migrations are applied."""

from typing import Any

from django.db import DatabaseError, InterfaceError, connection, router
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache

from webhooks_app.models import Worker, database_file

from .errors import only_read

_migrated = False


@only_read
@never_cache
def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


@only_read
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when requests can be served. A missing worker is told, and is no reason to take the
    web part out of service: deliveries are stored and wait."""
    try:
        database_file.check(router.db_for_write(Worker))
        problem = "" if _migrations_applied() else "migrations are not applied"
        body: dict[str, Any] = {} if problem else _workers()
    except database_file.Replaced:
        problem, body = "the database's file was replaced", {}
    except (DatabaseError, InterfaceError):
        problem, body = "the database does not answer", {}
    status = problem or "ok"
    return JsonResponse({"status": status, **body}, status=503 if problem else 200)


def _migrations_applied() -> bool:
    global _migrated
    if not _migrated:  # once applied, they stay so for the life of this process
        executor = MigrationExecutor(connection)
        _migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    return _migrated


def _workers() -> dict[str, Any]:
    last = Worker.objects.order_by("-seen_at").values_list("seen_at", flat=True).first()
    age = None if last is None else round((timezone.now() - last).total_seconds(), 1)
    return {"workers": Worker.objects.alive().count(), "workerAgeSeconds": age}
