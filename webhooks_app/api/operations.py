"""/healthz: the process answers. /readyz: the database does too, and is migrated. /metrics: how the
installation does, for Prometheus, which needs the extra `metrics`."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import DatabaseError, InterfaceError, connections, router
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from .. import conf
from ..engine import faults
from ..models import Worker, database_file
from ..models.primary import clock
from . import errors, throttling
from .authentication import bearer

NO_CLIENT = "The package prometheus-client is not installed (the extra metrics)."

_migrated = False


def only_read(view: Callable[..., Any]) -> Any:
    """For views that nobody writes to: any method but GET and HEAD is a 405 in the envelope, and
    no question of CSRF."""

    @csrf_exempt
    @wraps(view)
    def judged(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if request.method in ("GET", "HEAD"):
            return view(request, *args, **kwargs)
        response = _refusal(405, errors.WRONG_METHOD)
        response["Allow"] = "GET, HEAD"
        return response

    return judged


def _refusal(status: int, message: str) -> JsonResponse:
    return JsonResponse(errors.envelope(status, message), status=status)


@only_read
@never_cache
def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


@only_read
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when requests can be served. A missing worker is told, and is no reason to take the
    web part out of service: deliveries are stored and wait."""
    alias = router.db_for_write(Worker)
    try:
        database_file.check(alias)
        problem = "" if _migrations_applied(alias) else "migrations are not applied"
        body: dict[str, Any] = {} if problem else _workers()
        faults.settle()
    except database_file.Replaced:
        problem, body = "the database's file was replaced", {}
    except (DatabaseError, InterfaceError):
        faults.note()
        problem, body = "the database does not answer", {}
    status = problem or "ok"
    return JsonResponse({"status": status, **body}, status=503 if problem else 200)


def _migrations_applied(alias: str) -> bool:
    """Those of the app and of what it stands on; a host project's own are no business of ours."""
    global _migrated
    if not _migrated:  # once applied, they stay so for the life of this process
        executor = MigrationExecutor(connections[alias])
        ours = executor.loader.graph.leaf_nodes("webhooks_app")
        _migrated = not executor.migration_plan(ours)
    return _migrated


def _workers() -> dict[str, Any]:
    last = Worker.objects.order_by("-seen_at").values_list("seen_at", flat=True).first()
    now = clock(router.db_for_write(Worker))
    age = None if last is None else round((now - last).total_seconds(), 1)
    return {"workers": Worker.objects.alive(now).count(), "workerAgeSeconds": age}


@only_read
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Wants `Authorization: Bearer <WEBHOOKS_METRICS_TOKEN>`; without that setting a 404."""
    token = conf.settings.metrics_token
    if not token:
        return _refusal(404, errors.NOT_FOUND)
    given = request.META.get("HTTP_AUTHORIZATION", "")
    if not constant_time_compare(bearer(given) or "", token):
        return _stranger(request, given)
    try:
        from .metrics import CONTENT_TYPE, exposition
    except ImportError:
        return _refusal(503, NO_CLIENT)
    try:
        faults.settle()
        return HttpResponse(exposition(), content_type=CONTENT_TYPE)
    except (DatabaseError, InterfaceError):
        faults.note()
        return _refusal(503, "The database does not answer.")


def _stranger(request: HttpRequest, given: str) -> HttpResponse:
    try:
        if given:
            throttling.wrong_token(request)
    except errors.Problem as problem:
        response = _refusal(429, problem.message)
        response["Retry-After"] = str(round(problem.retry_after or 1))
        return response
    response = _refusal(401, "Send WEBHOOKS_METRICS_TOKEN: Authorization: Bearer <its value>.")
    response["WWW-Authenticate"] = "Bearer"
    return response
