"""A webhook works whatever way its row was made or changed: what Django developers write."""

import json
from datetime import datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import NotSupportedError, connection
from django.utils import timezone

from tests.api.conftest import Api
from tests.commands.test_webhooks import run
from tests.factories import WebhookFactory
from webhooks_app import actions
from webhooks_app.engine.maintenance import recount
from webhooks_app.fields import Sealed
from webhooks_app.models import (
    AccessToken,
    Account,
    Attempt,
    Delivery,
    Header,
    HourlyCount,
    Webhook,
    WebhookHealth,
)
from webhooks_app.rules.ids import new_id
from webhooks_app.testing import FakeReceiver, drain

pytestmark = pytest.mark.django_db
URL = "https://receiver.example.com/hook"


def by_create(account):
    return Webhook.objects.create(account=account, name="w", url=URL)


def by_save(account):
    webhook = Webhook(account=account, name="w", url=URL)
    webhook.save()
    return webhook


def by_bulk_create(account):
    return Webhook.objects.bulk_create([Webhook(account=account, name="w", url=URL)])[0]


def by_relation(account):
    return account.webhooks.create(name="w", url=URL)


def by_get_or_create(account):
    return Webhook.objects.get_or_create(account=account, name="w", defaults={"url": URL})[0]


def by_fixture(account, tmp_path):
    ident = new_id()
    row = {"account": account.pk, "name": "w", "url": URL, "token": "plain"}
    file = tmp_path / "webhooks.json"
    file.write_text(json.dumps([{"model": "webhooks_app.webhook", "pk": ident, "fields": row}]))
    call_command("loaddata", str(file), verbosity=0)
    return Webhook.objects.get(pk=ident)


def by_sql(account):
    ident = new_id()
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {Webhook._meta.db_table} (id, account_id, name, url, token,"
            " auth_username, auth_password, stopped, stopped_note, stopped_by, max_in_flight,"
            " version, created_at, updated_at)"
            " VALUES (%s, %s, 'w', %s, '', '', '', '', '', '', 10, 1, %s, %s)",
            [ident, account.pk, URL, now, now],
        )
    return Webhook.objects.get(pk=ident)


WAYS = [by_create, by_save, by_bulk_create, by_relation, by_get_or_create, by_fixture, by_sql]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def webhook(request, account, tmp_path):
    way = request.param
    return way(account, tmp_path) if way is by_fixture else way(account)


def fresh(webhook):
    return Webhook.objects.get(pk=webhook.pk)


def test_it_asks_for_its_verification_and_then_works(webhook):
    assert fresh(webhook).verification == "waiting"
    with FakeReceiver() as receiver:
        actions.deliver(webhook, {"order": 1})
        assert drain() == 1
    assert [request.method for request in receiver.requests] == ["GET", "POST"]
    assert fresh(webhook).verified


def test_it_is_shown_verified_and_tested_over_the_api(webhook, secret):
    api = Api(secret)
    assert api.get("/webhooks").json()[0]["error"] == ""
    shown = api.get(f"/webhooks/{webhook.pk}").json()
    assert shown["error"] == {"date": "", "message": ""}
    assert api.get(f"/webhooks/{webhook.pk}/settings").json()["health"]["failuresInRow"] == 0
    with FakeReceiver(500):
        for verb in ("verify", "test"):
            answer = api.post(f"/webhooks/{webhook.pk}/{verb}")
            assert answer.status_code == 200, answer.content
            assert api.post(f"/webhooks/{webhook.pk}/{verb}").status_code == 429
    assert "500" in api.get("/webhooks").json()[0]["error"]


def test_people_stop_start_explain_and_see_it(webhook, admin_client):
    actions.pause(webhook)
    actions.enable(webhook)
    actions.clear_error(webhook)
    actions.close_breaker(webhook)
    assert "Verification: waiting." in run("explain", webhook.pk)
    for page in ("", "webhooks_app/webhook/", f"webhooks_app/webhook/{webhook.pk}/change/"):
        assert admin_client.get(f"/admin/{page}").status_code == 200


def test_its_health_begins_where_it_is_written(webhook):
    assert webhook.health.failures_in_row == 0
    WebhookHealth.objects.all().delete()
    with FakeReceiver(500):
        actions.test(webhook)
    WebhookHealth.objects.all().delete()
    for _ in recount.rebuild():
        pass
    assert "500" in WebhookHealth.objects.get(pk=webhook.pk).last_error_message


class TestChanged:
    """By save and update: what follows from a change follows."""

    @pytest.fixture
    def webhook(self, account):
        return WebhookFactory(account=account, token="k", headers=[("X-A", "1")])

    def saved(self, webhook, **changes):
        for name, value in changes.items():
            setattr(webhook, name, value)
        webhook.save()

    def saved_in_part(self, webhook, **changes):
        for name, value in changes.items():
            setattr(webhook, name, value)
        webhook.save(update_fields=list(changes))

    def updated(self, webhook, **changes):
        Webhook.objects.filter(pk=webhook.pk).update(**changes)

    def bulk_updated(self, webhook, **changes):
        for name, value in changes.items():
            setattr(webhook, name, value)
        Webhook.objects.bulk_update([webhook], list(changes))

    @pytest.fixture(
        params=["saved", "saved_in_part", "updated", "bulk_updated", "updated_or_created"]
    )
    def change(self, request):
        return getattr(self, request.param)

    def test_a_new_url_is_not_verified_and_asks(self, webhook, change):
        change(webhook, url=f"{URL}/other")
        after = fresh(webhook)
        assert (after.verified, after.verification) == (False, "waiting")
        assert after.version > 1
        assert after.token == "k"

    def test_a_new_token_asks(self, webhook, change):
        change(webhook, token="other")
        after = fresh(webhook)
        assert (after.verified, after.verification) == (True, "waiting")
        assert after.token == "other"

    def test_the_same_url_and_another_name_ask_for_nothing(self, webhook, change):
        before = fresh(webhook)
        change(webhook, name="other", url=webhook.url)
        after = fresh(webhook)
        assert (after.verified_at, after.verification_due_at) == (before.verified_at, None)
        assert after.version > before.version
        assert after.updated_at > before.updated_at

    def test_what_only_says_how_it_stands_makes_no_request_anew(self, webhook, change):
        before = fresh(webhook)
        change_at = timezone.now()
        if change in (self.saved, self.updated_or_created):
            pytest.skip("a whole row, or more of it")
        change(webhook, verification_due_at=change_at)
        assert fresh(webhook).version == before.version

    KNOWN = {
        "failures_in_row": 50,
        "failing_since": timezone.now() - timedelta(days=6),
        "breaker_until": timezone.now() + timedelta(days=1),
        "breaker_trips": 3,
        "rests_until": timezone.now() + timedelta(days=1),
        "certificate_ends_at": timezone.now() + timedelta(days=1),
    }
    NOTHING = (0, None, None, 0, None, None)

    def test_what_is_known_of_another_url_counts_no_more(self, webhook, change):
        WebhookHealth.objects.update(**self.KNOWN)
        change(fresh(webhook), name="other", url=webhook.url)
        health = WebhookHealth.objects.values_list(*self.KNOWN)
        assert health.get() == tuple(self.KNOWN.values())
        change(fresh(webhook), url=f"{URL}/other")
        assert health.get() == self.NOTHING

    def test_of_many_that_are_updated_at_once_those_that_move_begin_anew(self, webhook):
        stays = WebhookFactory(account=webhook.account, url=f"{URL}/other")
        WebhookHealth.objects.update(**self.KNOWN)
        ours = Webhook.objects.filter(account__name=webhook.account.name)
        assert ours.update(url=f"{URL}/other") == 2
        health = WebhookHealth.objects.values_list(*self.KNOWN)
        assert health.get(pk=webhook.pk) == self.NOTHING
        assert health.get(pk=stays.pk) == tuple(self.KNOWN.values())
        assert (fresh(webhook).verified, fresh(stays).verified) == (False, True)

    @pytest.mark.parametrize("field", ["url", "token", "order"])
    def test_what_conflicts_is_not_changed_past_what_follows(self, webhook, field):
        webhook.url = f"{URL}/other"
        for given in ([None, False, True, [field], ["id"]], []):
            named = {"update_conflicts": True, "update_fields": [field], "unique_fields": ["id"]}
            with pytest.raises(NotSupportedError, match="bulk_update"):
                Webhook.objects.bulk_create([webhook], *given, **({} if given else named))
        assert fresh(webhook).url != webhook.url

    def test_what_only_says_how_it_stands_may_be_changed_where_it_conflicts(self, webhook):
        webhook.stopped_note = "moved"
        named = {"update_fields": ["stopped_note"], "unique_fields": ["id"]}
        Webhook.objects.bulk_create([webhook], update_conflicts=True, **named)
        assert fresh(webhook).stopped_note == "moved"

    def updated_or_created(self, webhook, **changes):
        Webhook.objects.update_or_create(pk=webhook.pk, defaults=changes)

    def test_who_says_that_a_new_url_is_verified_is_believed(self, webhook):
        webhook.url, webhook.verified_at = f"{URL}/other", timezone.now()
        webhook.save(update_fields=["url", "verified_at"])
        assert fresh(webhook).verified

    def test_a_stale_row_never_brings_an_old_version_back(self, webhook):
        stale = fresh(webhook)
        for number in range(3):
            self.saved(fresh(webhook), name=f"n{number}")
        version = fresh(webhook).version
        self.saved(stale, name="last")
        assert fresh(webhook).version > version

    def test_a_secret_that_no_key_opens_is_left_as_it_is(self, webhook, settings):
        keys = settings.WEBHOOKS_ENCRYPTION_KEYS
        settings.WEBHOOKS_ENCRYPTION_KEYS = "b" * 43 + "="
        self.saved(fresh(webhook), name="other")
        settings.WEBHOOKS_ENCRYPTION_KEYS = keys
        after = fresh(webhook)
        assert (after.name, after.token, after.verification_due_at) == ("other", "k", None)


HEADER_CHANGES = {
    "create": lambda w: Header.objects.create(webhook=w, name="X-B", value="2"),
    "create by relation": lambda w: w.headers.create(name="X-B", value="2"),
    "add": lambda w: w.headers.add(Header(name="X-B", value="2"), bulk=False),
    "add another's": lambda w: w.headers.add(
        Header.objects.create(webhook=WebhookFactory(), name="X", value="2")
    ),
    "bulk_create": lambda w: Header.objects.bulk_create([Header(webhook=w, name="X", value="2")]),
    "save": lambda w: setattr(h := w.headers.get(), "value", "3") or h.save(),
    "update": lambda w: w.headers.update(value="3"),
    "delete one": lambda w: w.headers.get().delete(),
    "delete all": lambda w: w.headers.all().delete(),
    "filter and delete": lambda w: Header.objects.filter(name="X-A").delete(),
}


@pytest.mark.parametrize("change", HEADER_CHANGES.values(), ids=HEADER_CHANGES)
def test_a_change_of_a_header_makes_the_request_anew(account, change):
    webhook = WebhookFactory(account=account, headers=[("X-A", "1")])
    before = fresh(webhook).version
    change(webhook)
    assert fresh(webhook).version > before


def test_a_dump_holds_no_secret_and_loads_again(account, tmp_path):
    actions.create_webhook(
        account,
        name="w",
        url=URL,
        token="planted-token",
        auth_username="bob",
        auth_password="planted-password",
        headers=[("X-Key", "planted-header")],
    )
    AccessToken.issue(account)
    with FakeReceiver():
        actions.deliver(Webhook.objects.get(), {"order": 1})
        drain()
    kept = Webhook.objects.get()
    before = {model: list(model.objects.order_by("pk").values()) for model in DUMPED}
    for form in ("json", "jsonl"):
        file = tmp_path / f"dump.{form}"
        call_command("dumpdata", "webhooks_app", format=form, output=str(file), verbosity=0)
        assert "planted" not in file.read_text()
        assert "bob" in file.read_text()
        Account.objects.all().delete()
        assert not Attempt.objects.exists()
        call_command("loaddata", str(file), verbosity=0)
        again = Webhook.objects.get()
        assert (again.token, again.auth_password) == ("planted-token", "planted-password")
        assert again.headers.get().value == "planted-header"
        assert (again.version, again.verified) == (kept.version, True)
        for model, rows in before.items():
            found = list(model.objects.order_by("pk").values())
            assert [opened(row) for row in found] == [opened(row) for row in rows]


DUMPED = (Account, AccessToken, Webhook, Header, Delivery, Attempt, WebhookHealth, HourlyCount)


def opened(row):
    """A row with its secrets in clear, because each encryption of them is another text, and to the
    millisecond, as JSON has it."""

    def plain(value):
        if isinstance(value, Sealed):
            return value.open()
        if isinstance(value, datetime):
            return value.replace(microsecond=value.microsecond // 1000 * 1000)
        return bytes(value) if isinstance(value, memoryview) else value

    return {name: plain(value) for name, value in row.items()}


def test_nobody_passes_ciphertext_for_a_secret_by_a_form_or_a_request(account, secret):
    """Else whoever has seen a dump could have it opened for him."""
    stored = WebhookFactory(account=account, token="planted").__class__.objects.values_list("token")
    [sealed] = stored.get()
    for text in ({"sealed": sealed.stored}, f'{{"sealed": "{sealed.stored}"}}'):
        body = {"name": "w", "url": URL, "token": text}
        answer = Api(secret).post("/webhooks", body)
        if isinstance(text, str):
            shown = Api(secret).get(f"/webhooks/{answer.json()['id']}").json()
            assert shown["token"] == text
        else:
            assert answer.status_code == 400
    webhook = Webhook(account=account, name="w", url=URL, token=f'{{"sealed": "{sealed.stored}"}}')
    webhook.full_clean()
    assert "planted" not in webhook.token
