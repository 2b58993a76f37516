"""Roles: a viewer may press and POST whatever there is, and nothing happens."""

import inspect
import json
import re
from contextlib import contextmanager

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone

from tests.admin.pages import forms
from tests.factories import (
    AttemptFactory,
    DeliveryFactory,
    UserFactory,
    WebhookFactory,
    WorkerFactory,
)
from webhooks_app import actions
from webhooks_app.models import AccessToken, AuditEntry, Webhook
from webhooks_app.roles import ROLES, VERBS, make_roles

SECRETS = {"token": "tok-Ämpel", "auth_password": "pass-Ämpel"}


def member_of(role):
    user = UserFactory()
    user.groups.add(Group.objects.get(name=f"Webhooks {role}"))
    client = Client()
    client.force_login(user)
    client.user = user
    return client


@pytest.fixture
def roles(db):
    make_roles(again=True)


@pytest.fixture
def rows(account):
    """One of everything that has a page, by model name."""
    webhook = WebhookFactory(
        account=account, auth_username="u", headers=[("X-One", "val-Ämpel")], **SECRETS
    )
    delivery = DeliveryFactory(webhook=webhook, tries=8, state="failed", finished_at=timezone.now())
    attempt = AttemptFactory(
        webhook=webhook, delivery=delivery, kind="http_500", message="Request failed"
    )
    token, _ = AccessToken.issue(account)
    AuditEntry.objects.note("somebody", "Created.", webhook)
    event = actions.publish(account, "order.paid", {"order": 4711})
    event_type = actions.declare_event_type(account, "order.paid")
    job = actions.create_job("retry", {"webhook": webhook.pk, "state": "failed"})
    found = {
        "webhook": webhook,
        "delivery": delivery,
        "attempt": attempt,
        "webhookerror": attempt,
        "accesstoken": token,
        "account": account,
        "job": job,
        "event": event,
        "eventtype": event_type,
        "auditentry": AuditEntry.objects.get(),
        "worker": WorkerFactory(),
    }
    return {model: str(row.pk) for model, row in found.items()}


def patterns(resolver, prefix=""):
    for pattern in resolver.url_patterns:
        path = prefix + str(pattern.pattern)
        if hasattr(pattern, "url_patterns"):
            yield from patterns(pattern, path)
        else:
            yield path


HOST = "receiver.example.com"  # which the webhook among them calls


def admin_paths(rows):
    """Every address of the admin, filled with real ids: what is added later joins by itself."""
    for path in sorted(set(patterns(get_resolver()))):
        if not path.startswith("admin/"):
            continue
        model = re.match(r"admin/\w+/(\w+)/", path)
        ident = rows.get(model[1], "1") if model else "1"
        path = re.sub(r"^\^|\$$|\(\?P<\w+>[^)]*\)", "", path)
        path = path.replace("<str:host>", HOST)
        yield "/" + re.sub(r"<[\w:]+>", ident, path)


def everything():
    """Every row of ours and of the staff, as they are stored."""
    models = [
        model for app in ("webhooks_app", "auth") for model in apps.get_app_config(app).get_models()
    ]
    many = [field.remote_field.through for model in models for field in model._meta.many_to_many]
    kept = {}
    for model in {*models, *many}:
        if model._meta.proxy:
            continue
        names = [f.attname for f in model._meta.concrete_fields if f.name != "last_login"]
        stored = model._base_manager.values_list(*names)
        if model is AuditEntry:  # who took a list or a record along is noted, whoever may see it
            stored = stored.exclude(action__startswith="Took ")
        kept[model._meta.label] = sorted(map(repr, stored))
    return kept


@contextmanager
def nothing_changes():
    """Gives a check, for after each request, that the rows are still what they were at first. They
    are read again where a statement was sent that can write."""
    before, writing = everything(), []

    def note(execute, sql, *rest):
        if not sql.lstrip("( ").upper().startswith(("SELECT", "SAVEPOINT", "RELEASE", "ROLLBACK")):
            writing.append(sql)
        return execute(sql, *rest)

    def check(what):
        if writing:
            assert everything() == before, what
            writing.clear()

    with connection.execute_wrapper(note):
        yield check
    assert everything() == before


FIELDS = {
    "name": "changed",
    "url": "https://elsewhere.example.com/",
    "new_token": "changed",
    "account": "acme",
    "scope": "manage",
    "note": "changed",
    "secret": "token",
    "since": "2h",
    "verb": "retry",
    "pace": "10",
    "contact_email": "changed@example.com",
    "post": "yes",
    "confirm": "yes",
    "headers-TOTAL_FORMS": "0",
    "headers-INITIAL_FORMS": "0",
}


@pytest.mark.once
def test_a_viewer_posts_to_every_address_of_the_admin_and_nothing_changes(roles, rows):
    viewer = member_of("viewer")
    paths = [path for path in admin_paths(rows) if "log" not in path and "password" not in path]
    assert len(paths) > 40
    with nothing_changes() as unchanged:
        for path in paths:
            response = viewer.post(path, FIELDS)
            assert response.status_code < 500, path
            for secret in (*SECRETS.values(), "val-Ämpel"):
                assert secret not in response.getvalue().decode()
            unchanged(path)


def test_the_walks_meet_a_row_of_every_screen(rows):
    assert {model._meta.model_name for model, _ in console_admins()} == set(rows)


@pytest.mark.once
@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_a_deleted_webhook_is_brought_back_by_whoever_may_delete(roles, rows, role):
    actions.delete_webhook(Webhook.objects.get(pk=rows["webhook"]))
    path, client = f"/admin/webhooks_app/webhook/{rows['webhook']}/restore/", member_of(role)
    before = everything()
    assert (client.get(path).status_code, client.post(path).status_code) == (403, 403)
    assert everything() == before


@pytest.mark.once
def test_a_viewer_finds_no_button_that_does_anything(roles, rows):
    viewer = member_of("viewer")
    with nothing_changes() as unchanged:
        for path in admin_paths(rows):
            if "log" in path or "password" in path or "jsi18n" in path:
                continue
            page = viewer.get(path)
            if page.status_code != 200 or "html" not in page["Content-Type"]:
                continue
            for action in forms(page).actions:
                if "logout" not in (action or ""):
                    address = action if action and action.startswith("/") else path
                    assert viewer.post(address, FIELDS).status_code in (200, 302, 403, 405), action
            unchanged(path)


def actions_of(model_admin):
    return [action for action in model_admin.actions or [] if action]


@pytest.mark.once
def test_a_viewer_runs_no_action_of_any_list(roles, rows):
    viewer = member_of("viewer")
    tried = 0
    with nothing_changes() as unchanged:
        for model, model_admin in console_admins():
            path = f"/admin/webhooks_app/{model._meta.model_name}/"
            for action in [*actions_of(model_admin), "delete_selected"]:
                data = {"action": action, "_selected_action": rows.get(model._meta.model_name, "1")}
                assert viewer.post(path, data).status_code in (200, 302, 403)
                unchanged(action)
                tried += 1
    assert tried > 10


def console_admins():
    return [
        (model, found)
        for model, found in admin.site._registry.items()
        if model._meta.app_label == "webhooks_app"
    ]


def test_every_action_names_its_permission(db):
    for model, model_admin in console_admins():
        for name in actions_of(model_admin):
            action = getattr(model_admin, name)
            assert getattr(action, "allowed_permissions", None), (model, name)


@pytest.mark.once
def test_reading_changes_nothing(roles, rows):
    """GET of any address, by a superuser: no row is written."""
    boss = Client()
    boss.force_login(UserFactory(is_superuser=True))
    before = everything()
    for path in admin_paths(rows):
        if "logout" not in path:
            query = {"after": rows[path.split("/")[3]]} if path.endswith("/newer/") else {}
            assert boss.get(path, query).status_code in (200, 302, 403, 404, 405), path
    assert everything() == before


@pytest.mark.once
def test_staff_without_a_permission_sees_nothing(rows):
    stranger = Client()
    stranger.force_login(UserFactory())
    for path in admin_paths(rows):
        if path.startswith("/admin/webhooks_app/") and "autocomplete" not in path:
            page = stranger.get(path)
            assert page.status_code in (302, 403, 404, 405), path


# --- the groups -------------------------------------------------------------------------------

MAY = {
    "viewer": {"view": True, "operate": False, "change": False, "reveal": False},
    "operator": {"view": True, "operate": True, "change": False, "reveal": False},
    "administrator": {"view": True, "operate": True, "change": True, "reveal": True},
}


PAUSED, RUNNING, WIDER = {"enabled": False}, {"enabled": True}, {"maxInFlight": 20}


@pytest.mark.parametrize("role", MAY)
def test_each_role_may_do_its_part(roles, rows, role):
    client, may = member_of(role), MAY[role]
    page = f"/admin/webhooks_app/webhook/{rows['webhook']}"
    assert client.get(f"{page}/change/").status_code == 200
    assert (client.post(f"{page}/pause/").status_code == 302) == may["operate"]
    revealed = client.post(f"{page}/reveal/", {"secret": "token"})
    assert (revealed.status_code == 200) == may["reveal"]
    assert (SECRETS["token"] in revealed.content.decode()) == may["reveal"]
    assert not may["reveal"] or "no-store" in revealed["Cache-Control"]
    assert client.user.has_perm("webhooks_app.change_webhook") == may["change"]
    assert (client.get("/admin/webhooks_app/webhook/add/").status_code == 200) == may["change"]
    assert not client.user.has_perm("auth.change_user")


# --- one table for the console and the browsable API -------------------------------------------


def test_every_verb_of_the_application_names_its_permission():
    there = {
        name
        for name, verb in vars(actions).items()
        if inspect.isfunction(verb) and verb.__module__.startswith(actions.__name__)
        if "by" in inspect.signature(verb).parameters and not name.startswith("_")
    }
    assert there == set(VERBS) - {"reveal"}


# verb -> the POST of the console, and the call of the browsable API
DOORS = {
    "pause": ("webhook/{webhook}/pause/", "PATCH", "/webhooks/{webhook}/settings", PAUSED),
    "enable": ("webhook/{webhook}/enable/", "PATCH", "/webhooks/{webhook}/settings", RUNNING),
    "verify": ("webhook/{webhook}/verify/", "POST", "/webhooks/{webhook}/verify", {}),
    "test": ("webhook/{webhook}/test/", "POST", "/webhooks/{webhook}/test", {}),
    "close_breaker": (
        "webhook/{webhook}/close-breaker/",
        "POST",
        "/webhooks/{webhook}/close-breaker",
        {},
    ),
    "retry": ("delivery/{delivery}/retry/", "POST", "/deliveries/{delivery}/retry", {}),
    "cancel": ("delivery/{delivery}/cancel/", "POST", "/deliveries/{delivery}/cancel", {}),
    "delete_webhook": ("webhook/{webhook}/delete/", "DELETE", "/webhooks/{webhook}", {}),
    "update_webhook": ("webhook/{webhook}/change/", "PATCH", "/webhooks/{webhook}/settings", WIDER),
    "create_webhook": ("webhook/add/", "POST", "/webhooks", {}),
    "replay": ("job/add/", "POST", "/webhooks/{webhook}/replay", {"since": "2026-01-01T00:00Z"}),
}


@pytest.mark.parametrize("role", MAY)
@pytest.mark.parametrize("verb", DOORS)
def test_console_and_browsable_api_allow_a_role_the_same(roles, rows, account, role, verb):
    """A 403 at both doors or at none; what else the answer is hangs on the row."""
    console, method, path, body = DOORS[verb]
    stopped = "paused" if verb == "enable" else ""
    Webhook.objects.filter(pk=rows["webhook"]).update(
        stopped=stopped,
        url="http://127.0.0.1:9/",
        verified_at=timezone.now(),
        verification_due_at=None,
    )
    client = member_of(role)
    account.members.add(client.user)
    allowed = client.user.has_perm(f"webhooks_app.{VERBS[verb]}")
    sent = client.generic(method, path.format(**rows), json.dumps(body), "application/json")
    assert (sent.status_code != 403) == allowed, sent.content
    pressed = client.post(f"/admin/webhooks_app/{console.format(**rows)}", FIELDS)
    assert (pressed.status_code != 403) == allowed


def test_a_session_sends_back_all_settings_and_needs_the_permission_of_what_changes(
    roles, rows, account
):
    operator = member_of("operator")
    account.members.add(operator.user)
    path = f"/webhooks/{rows['webhook']}/settings"
    shown = operator.get(path).json()

    def patch(**changed):
        body = json.dumps({**shown, **changed})
        return operator.patch(path, body, "application/json").status_code

    assert patch(enabled=False, note="moving") == 200
    assert patch(enabled=True) == 200
    assert patch(timeout=5) == 403
    assert patch(enabled=False, maxInFlight=11) == 403
    assert operator.get(path).json()["enabled"], "nothing of a request that is refused is done"
    (editor,) = UserFactory.create_batch(1)
    editor.user_permissions.set(Permission.objects.filter(codename__endswith="_webhook"))
    editor.user_permissions.remove(Permission.objects.get(codename="operate_webhook"))
    account.members.add(editor)
    operator.force_login(editor)
    assert patch(timeout=5) == 200
    assert patch(timeout=5, enabled=False) == 403


def test_migrate_makes_the_groups_and_leaves_changed_ones_alone(db):
    Group.objects.filter(name__in=ROLES).delete()
    call_command("migrate", verbosity=0)
    assert Group.objects.filter(name__in=ROLES).count() == 3
    viewer = Group.objects.get(name="Webhooks viewer")
    extra = Permission.objects.get(codename="operate_webhook")
    viewer.permissions.add(extra)
    call_command("migrate", verbosity=0)
    assert extra in viewer.permissions.all()
    call_command("webhooks", "create-roles", "--again")
    assert extra not in viewer.permissions.all()
