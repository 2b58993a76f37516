"""Who may do what, and what the pages show."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from tests.admin.pages import forms, page, text_of, url
from tests.admin.test_home import plain
from tests.factories import WebhookFactory, WorkerFactory
from webhooks_app import models
from webhooks_app.models import AuditEntry

NOW = timezone.now()


@pytest.fixture
def webhook(orders):
    return orders


def rows_of_everything():
    """The whole of what a console could change, to compare before and after."""
    tables = (
        *(models.Account, models.AccessToken, models.Webhook, models.Header),
        *(models.WebhookHealth, models.Delivery, models.Attempt, AuditEntry, LogEntry),
    )
    return {table.__name__: list(table.objects.order_by("pk").values()) for table in tables}


def every_page(webhook):
    delivery, attempt = webhook.deliveries.get(), webhook.attempts.get()
    token = models.AccessToken.objects.first() or models.AccessToken.issue(webhook.account)[0]
    lists = ("webhook", "delivery", "attempt", "webhookerror", "account", "accesstoken")
    return [
        *(url(model) for model in lists),
        page(webhook),
        page(delivery, "delivery"),
        page(attempt, "attempt"),
        page(attempt, "webhookerror"),
        page(webhook.account, "account"),
        page(token, "accesstoken"),
    ]


def every_button(webhook):
    """Every way to press something by hand: own views, forms, deletions and list actions."""
    delivery, attempt = webhook.deliveries.get(), webhook.attempts.get()
    token = models.AccessToken.objects.first()
    verbs = ("verify", "test", "pause", "enable", "close-breaker", "clear-error", "reveal")
    yield from ((url("webhook", webhook.pk, verb), {"secret": "token"}) for verb in verbs)
    yield from ((url("delivery", delivery.pk, verb), {}) for verb in ("retry", "cancel"))
    yield url("accesstoken", token.pk, "revoke"), {}
    rows = {
        "webhook": webhook.pk,
        "delivery": delivery.pk,
        "attempt": attempt.pk,
        "webhookerror": attempt.pk,
        "account": webhook.account.pk,
        "accesstoken": token.pk,
    }
    for model, pk in rows.items():
        yield url(model, "add"), {"name": "new", "account": "acme"}
        yield url(model, pk, "change"), {"name": "new", "headers-TOTAL_FORMS": "0"}
        yield url(model, pk, "delete"), {"post": "yes"}
        names = ("verify_", "test_", "enable_", "pause_", "retry_", "cancel_", "revoke_")
        for name in (*names, "delete_selected"):
            yield url(model), {"action": name, "_selected_action": pk, "index": "0", "post": "yes"}


def test_looking_changes_nothing(boss, webhook):
    pages = every_page(webhook)
    before = rows_of_everything()
    for place in pages:
        assert boss.get(place).status_code == 200
    for place in dict.fromkeys(place for place, _ in every_button(webhook)):
        boss.get(place)
    assert rows_of_everything() == before


def test_viewers_see_no_buttons_and_pressing_by_hand_changes_nothing(viewer, webhook):
    pages = every_page(webhook)
    for place in pages:
        response = viewer.get(place)
        assert response.status_code == 200
        actions = set(forms(response).actions)
        taken = {action for action in actions if re.match(r"export/\?|\.\./record/", action)}
        assert actions - taken <= {"/admin/logout/", ""}, f"{place} offers {actions}"
        assert 'name="action"' not in text_of(response), f"{place} offers actions"
        assert 'type="submit" value="Save' not in text_of(response)
    before = rows_of_everything()
    for place, data in every_button(webhook):
        answer = viewer.post(place, data)
        lists_again = "action" in data and answer.status_code == 200
        assert lists_again or answer.status_code in (302, 403), (place, answer.status_code)
    assert rows_of_everything() == before


def test_strangers_and_customers_are_sent_to_the_login(client, webhook, django_user_model):
    user = django_user_model.objects.create_user("customer", password="x")
    pages = every_page(webhook)
    before = rows_of_everything()
    for log_in in (False, True):
        if log_in:
            client.force_login(user)
        for place in pages:
            assert client.get(place)["Location"].startswith("/admin/login/")
        for place, data in every_button(webhook):
            assert client.post(place, data)["Location"].startswith("/admin/login/")
    assert rows_of_everything() == before


def test_an_operator_operates_and_changes_no_settings(operator, webhook):
    buttons = forms(operator.get(page(webhook))).actions
    expected = {f"../{verb}/" for verb in ("test", "verify", "pause")}
    assert expected <= set(buttons)
    assert "../reveal/" not in buttons
    assert operator.post(page(webhook), {"name": "new"}).status_code == 403
    assert (
        operator.post(url("webhook", webhook.pk, "reveal"), {"secret": "token"}).status_code == 403
    )
    assert operator.get(url("webhook", webhook.pk, "pause")).url == page(webhook)
    assert operator.put(url("webhook", webhook.pk, "pause")).status_code == 405


def test_pausing_keeps_the_note_and_enabling_clears_it(operator, webhook):
    note = "shop closed <b>for the move</b>"
    response = operator.post(url("webhook", webhook.pk, "pause"), {"note": note}, follow=True)
    webhook.refresh_from_db()
    assert (webhook.stopped, webhook.stopped_note) == ("paused", note)
    assert webhook.stopped_by == operator.user.username
    text = text_of(response)
    assert f"Paused by {operator.user.username}" in text
    assert "&lt;b&gt;for the move" in text
    assert "<b>for the move" not in text
    operator.post(url("webhook", webhook.pk, "enable"))
    webhook.refresh_from_db()
    assert (webhook.stopped, webhook.stopped_note) == ("", "")
    history = plain(text_of(operator.get(url("webhook", webhook.pk, "history"))))
    assert re.search(r"Resumed.*Paused: shop closed", history), "the newest first, with the reason"


def test_the_last_error_is_cleared_and_the_history_stays(operator, webhook):
    assert "ECONNREFUSED" in text_of(operator.get(url("webhook")))
    assert "ECONNREFUSED" in text_of(operator.get(page(webhook)))
    operator.post(url("webhook", webhook.pk, "clear-error"))
    webhook.health.refresh_from_db()
    assert webhook.health.last_error_message == ""
    assert models.WebhookError.objects.count() == 1
    assert "ECONNREFUSED" not in text_of(operator.get(url("webhook")))


def test_a_breaker_is_closed(operator, webhook):
    trip = {"breaker_until": NOW + timedelta(hours=1), "failures_in_row": 0}
    models.WebhookHealth.objects.update(**trip)
    assert "Resting until" in text_of(operator.get(page(webhook)))
    operator.post(url("webhook", webhook.pk, "close-breaker"))
    assert "Resting until" not in text_of(operator.get(page(webhook)))


def test_the_page_says_state_reason_and_what_to_do(viewer, webhook):
    text = text_of(viewer.get(page(webhook)))
    assert "<title>Failing: Orders" in text
    assert re.search(r"\(2 h( \d+ min)?\): connection refused", text)
    assert "connect ECONNREFUSED 93.184.216.34:443" in text
    assert "Ask the owner whether the server runs" in text
    assert "Request failed with status code 500" in text, "the errors stand below"
    assert "order.created" in text


def test_a_delivery_shows_its_attempts_with_the_answer_escaped(viewer, webhook):
    text = text_of(viewer.get(page(webhook.deliveries.get(), "delivery")))
    assert "wait 841 ms" in text
    assert "The receiver took the call and crashed." in text
    assert "&lt;script&gt;alert(&#x27;hostile&#x27;)" in text
    assert "<script>alert" not in text
    assert "&quot;order&quot;: 4711" in text, "the body is shown"


def test_deliveries_are_retried_and_cancelled(operator, webhook):
    delivery = webhook.deliveries.get()
    response = operator.post(url("delivery", delivery.pk, "cancel"), follow=True)
    said = f"Delivery {delivery.type} to {webhook} is cancelled and will not be sent."
    assert said in plain(text_of(response))
    again = operator.post(url("delivery", delivery.pk, "cancel"), follow=True)
    assert "Only a pending delivery can be cancelled." in text_of(again)
    operator.post(url("delivery", delivery.pk, "retry"))
    delivery.refresh_from_db()
    assert (delivery.state, delivery.tries) == ("pending", 0)
    assert delivery.requested_by == operator.user.username


def test_list_actions_do_what_they_say(operator, webhook):
    def run(name):
        return operator.post(url("webhook"), {"action": name, "_selected_action": webhook.pk})

    asked = text_of(run("pause_"))
    assert "Pause 1 webhook?" in asked
    webhook.refresh_from_db()
    assert webhook.stopped == "", "nothing before it was confirmed"
    form = {"action": "pause_", "_selected_action": webhook.pk, "confirmed": "1", "note": "a move"}
    operator.post(url("webhook"), form)
    said = operator.get(url("webhook")).content.decode()
    assert f'Paused: <a href="{page(webhook)}">1 webhook</a>' in said
    webhook.refresh_from_db()
    assert (webhook.stopped, webhook.stopped_note) == ("paused", "a move")
    assert "Resume 1 webhook?" in text_of(run("enable_"))
    operator.post(url("webhook"), {**form, "action": "enable_"})
    run("verify_")
    webhook.refresh_from_db()
    assert webhook.stopped == ""
    assert webhook.verification_due_at
    data = {"action": "cancel_", "_selected_action": webhook.deliveries.get().pk}
    assert "Cancel 1 delivery?" in operator.post(url("delivery"), data).content.decode()
    assert webhook.deliveries.get().state == "pending"
    operator.post(url("delivery"), data | {"confirmed": "1"})
    assert webhook.deliveries.get().state == "cancelled"


class TestReveal:
    def secret(self, client, webhook, which):
        return client.post(url("webhook", webhook.pk, "reveal"), {"secret": which})

    def test_shows_one_secret_uncached_and_logs_it_without_the_value(self, boss, webhook):
        row = webhook.headers.get()
        shown = {"token": "tok-Ämpel", "password": "pass-Ämpel", f"header-{row.pk}": "val-Ämpel"}
        for which, value in shown.items():
            response = self.secret(boss, webhook, which)
            assert f'value="{value}"' in text_of(response)
            assert "no-store" in response["Cache-Control"]
        assert list(AuditEntry.objects.order_by("pk").values_list("action", flat=True)) == [
            "Revealed the token.",
            "Revealed the password.",
            "Revealed the header X-One.",
        ]
        for model in (LogEntry, AuditEntry):
            assert not any("Ämpel" in str(row) for row in model.objects.values())

    def test_knows_no_secret_of_another_webhook(self, boss, webhook):
        other = WebhookFactory(headers=[("X-Other", "theirs")])
        response = self.secret(boss, webhook, f"header-{other.headers.get().pk}")
        assert response.status_code == 302
        assert not AuditEntry.objects.exists()

    def test_needs_its_permission_and_a_post(self, editor, operator, boss, webhook):
        for client in (editor, operator):
            assert self.secret(client, webhook, "token").status_code == 403
        assert boss.get(url("webhook", webhook.pk, "reveal")).url == page(webhook)


def test_deleting_hides_the_webhook_and_keeps_its_history(boss, webhook):
    delivery = webhook.deliveries.get()
    confirm = text_of(boss.get(url("webhook", webhook.pk, "delete")))
    assert "order.created" not in confirm
    boss.post(url("webhook", webhook.pk, "delete"), {"post": "yes"})
    webhook.refresh_from_db()
    assert webhook.deleted_at
    assert webhook.token == ""
    assert not webhook.headers.exists()
    assert boss.get(page(webhook)).status_code == 302
    text = text_of(boss.get(page(delivery, "delivery")))
    assert "Orders</bdi> (deleted)" in text
    assert page(webhook) not in text_of(boss.get(url("delivery") + "?created=any"))


def test_a_pause_forgets_nothing_of_a_failure(operator, webhook):
    since = webhook.health.failing_since
    operator.post(url("webhook", webhook.pk, "pause"), {"note": ""})
    operator.post(url("webhook", webhook.pk, "enable"))
    webhook.health.refresh_from_db()
    assert (webhook.health.failing_since, webhook.health.failures_in_row) == (since, 7)
    assert webhook.health.run_cleared_at, "it begins gently"


def test_a_run_that_would_stop_it_again_begins_anew(operator, webhook):
    models.WebhookHealth.objects.update(failing_since=NOW - timedelta(days=6))
    operator.post(url("webhook", webhook.pk, "pause"), {"note": ""})
    operator.post(url("webhook", webhook.pk, "enable"))
    webhook.health.refresh_from_db()
    assert (webhook.health.failing_since, webhook.health.failures_in_row) == (None, 0)


def test_the_error_of_one_that_fails_is_not_to_be_cleared(operator, webhook):
    assert "do-clear-error" not in text_of(operator.get(page(webhook)))
    models.WebhookHealth.objects.update(failures_in_row=0, last_success_at=NOW)
    assert "do-clear-error" in text_of(operator.get(page(webhook)))


def test_what_needs_nothing_has_no_filled_button(operator, webhook):
    delivery = webhook.deliveries.get()
    models.Attempt.objects.update(kind="rate", status=429)
    models.Delivery.objects.update(last_error="Request failed with status code 429")
    says = text_of(operator.get(page(delivery, "delivery")))
    assert "<b>What to do:</b> Nothing" in says
    assert "wh-btn-1" not in says.split('id="attempts"')[0]


def test_a_delete_says_how_many_wait(boss, webhook):
    assert "1 delivery that waits for it is cancelled" in text_of(
        boss.get(url("webhook", webhook.pk, "delete"))
    )


def test_lists_say_why_a_delivery_is_held(operator, webhook):
    models.Webhook.objects.update(stopped="gone")
    assert "stopped: gone" in text_of(operator.get(url("delivery")))
    on_page = text_of(operator.get(page(webhook)))
    assert "stopped: gone" in on_page
    assert "4711" in on_page.split('id="last-deliveries"')[1], "its reference"


def test_in_another_language_a_page_is_one_language_and_says_so(boss, webhook, settings):
    settings.LANGUAGE_CODE = "de"
    for place in (*every_page(webhook), "/admin/"):
        answer = boss.get(place)
        assert '<html lang="en' in text_of(answer), place
        assert "Abmelden" not in text_of(answer), place


def test_no_page_says_disabled_nor_names_a_place_twice_above_it(boss, webhook):
    webhooks = [webhook, WebhookFactory(account=webhook.account, stopped="gone", stopped_at=NOW)]
    for place in (*every_page(webhook), *map(page, webhooks), "/admin/", "/admin/webhooks_app/"):
        text = text_of(boss.get(place))
        assert "disabled" not in plain(text).lower(), place
        # Since Django 6.1 its own are a list.
        crumbs = re.search(r'<(div|ol) class="breadcrumbs">(.*?)</\1>', text, re.DOTALL)
        names = [plain(name).strip() for name in re.split("›|&rsaquo;|</li>", crumbs[2])]
        names = [name for name in names if name]
        assert len(set(names)) == len(names), names
    add = plain(text_of(boss.get(url("webhook", "add"))))
    assert "the site's own, 10." in add
    assert "WEBHOOKS_" not in add


def test_links_to_the_disabled_lead_to_the_stopped(viewer, webhook):
    models.Webhook.objects.update(stopped="failing")
    WebhookFactory(account=webhook.account)
    text = text_of(viewer.get(url("webhook"), {"state": "disabled"}))
    assert "1 shown" in text
    assert "state=stopped" in text


class TestWhatIsPromised:
    def said(self, client, place, **data):
        answer = client.post(place, data, follow=True)
        messages = re.search(r'<ul class="messagelist">(.*?)</ul>', text_of(answer), re.DOTALL)
        return plain(messages[1])

    def test_after_a_resume_is_what_follows(self, operator, webhook):
        place, several = url("webhook", webhook.pk, "enable"), url("webhook")
        resume = {"action": "enable_", "_selected_action": webhook.pk, "confirmed": "1"}
        assert "It is sent as soon as a worker runs; none is alive." in self.said(operator, place)
        assert "as soon as a worker runs" in self.said(operator, several, **resume)
        WorkerFactory(seen_at=NOW + timedelta(hours=1))
        assert "What waits goes out, the oldest first." in self.said(operator, place)
        assert "What waits goes out." in self.said(operator, several, **resume)
        models.Webhook.objects.update(verified_at=None)
        says = self.said(operator, place)
        assert "Resumed. The webhook is not verified" in says
        assert "goes out" not in says
        other = WebhookFactory(account=webhook.account)
        resume["_selected_action"] = [webhook.pk, other.pk]
        says = self.said(operator, several, **resume)
        assert "Nothing goes to 1 of 2 webhooks now (not verified)" in says

    def test_after_a_retry_is_what_follows(self, operator, webhook):
        WorkerFactory(seen_at=NOW + timedelta(hours=1))
        delivery = webhook.deliveries.get()
        place = url("delivery", delivery.pk, "retry")
        assert "the attempt shows below" in self.said(operator, place)
        models.Webhook.objects.update(stopped="paused", stopped_at=NOW)
        says = self.said(operator, place)
        assert "is due now, and waits. The webhook is paused." in says
        retry = {"action": "retry_", "_selected_action": delivery.pk, "confirmed": "1"}
        says = self.said(operator, url("delivery"), **retry)
        assert "Due now: 1 delivery. The webhook is paused." in says

    def test_of_a_verification_is_what_a_worker_does(self, operator, webhook):
        verify = {"action": "verify_", "_selected_action": webhook.pk}
        assert "none is alive" in self.said(operator, url("webhook"), **verify)
        WorkerFactory(seen_at=NOW + timedelta(hours=1))
        assert "The worker verifies" in self.said(operator, url("webhook"), **verify)
