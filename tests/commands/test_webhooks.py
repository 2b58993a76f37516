"""`manage.py webhooks VERB`, through call_command: what it prints, changes and ends with."""

import io
import json
import re
from datetime import timedelta

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.utils import timezone

from tests.factories import AttemptFactory, DeliveryFactory, WebhookFactory
from tests.receivers import Receiver
from webhooks_app import actions
from webhooks_app.models import (
    AccessToken,
    Account,
    Attempt,
    AuditEntry,
    Delivery,
    HourlyCount,
    Webhook,
    WebhookHealth,
    Worker,
)
from webhooks_app.rules.ids import timestamp
from webhooks_app.testing import FakeReceiver


def run(*arguments, code=0):
    """Standard output of the command, which must end with this exit code."""
    return both(*arguments, code=code)[0]


def both(*arguments, code=0):
    out, err = io.StringIO(), io.StringIO()
    ended = 0
    try:
        call_command("webhooks", *arguments, stdout=out, stderr=err)
    except CommandError as error:
        ended = error.returncode
        err.write(str(error))
    except SystemExit as error:
        ended = error.code
    assert ended == code, out.getvalue() + err.getvalue()
    return out.getvalue(), err.getvalue()


@pytest.mark.once
def test_without_a_verb_it_shows_all_of_them():
    out, err = both(code=2)
    assert out == ""
    assert "explain             why was this (not) sent?" in err


def failed(webhook, minutes_ago=5, **fields):
    fields = {
        "state": "failed",
        "tries": 8,
        "last_error": "Request failed with status code 500",
    } | fields
    return DeliveryFactory(
        webhook=webhook,
        finished_at=timezone.now() - timedelta(minutes=minutes_ago),
        **fields,
    )


@pytest.mark.django_db
class TestCreateToken:
    def test_prints_the_token_alone_and_it_opens_the_account(self, account):
        secret = run("create-token", "acme", "--name", "CI").removesuffix("\n")

        token = AccessToken.objects.for_secret(secret)
        assert secret.startswith("whk_")
        assert (token.account, token.name, token.scope) == (account, "CI", "manage")
        assert token.expires_at is None

    def test_scope_and_expiry(self, account):
        secret = run("create-token", "acme", "--scope", "read", "--expires-days", "30")

        token = AccessToken.objects.for_secret(secret.strip())
        assert token.scope == "read"
        assert timedelta(days=29) < token.expires_at - timezone.now() <= timedelta(days=30)

    def test_an_unknown_account_is_wrong_usage(self):
        _, err = both("create-token", "nobody", code=2)

        assert err == "There is no account nobody; --create makes it."
        assert not Account.objects.exists()

    def test_create_makes_the_account_once(self):
        run("create-token", "fresh", "--create")
        run("create-token", "fresh", "--create")

        assert Account.objects.get().tokens.count() == 2

    def test_a_name_no_account_can_have_is_wrong_usage(self):
        _, err = both("create-token", "No Spaces", "--create", code=2)

        assert "1 to 64 of a-z, 0-9 and -" in err

    @pytest.mark.once
    @pytest.mark.parametrize("arguments", [["--scope", "all"], ["--expires-days", "0"], ["--x"]])
    def test_wrong_options(self, account, arguments):
        with pytest.raises(CommandError):
            call_command("webhooks", "create-token", "acme", *arguments)
        assert not AccessToken.objects.exists()


@pytest.mark.django_db
class TestSend:
    def test_queues_the_bytes_as_given_and_prints_the_id(self):
        webhook = WebhookFactory()

        out, err = both(
            "send", webhook.id, "--data", '{"a":  1}', "--type", "order", "--reference", "r-1"
        )

        delivery = Delivery.objects.get()
        assert out == f"{delivery.id}\n"
        assert bytes(delivery.payload) == b'{"a":  1}'
        assert (delivery.type, delivery.reference) == ("order", "r-1")
        assert delivery.created_by == "command line"
        assert "no worker is alive" in err

    def test_a_body_from_a_file(self, tmp_path):
        path = tmp_path / "body.json"
        path.write_bytes(b"[1, 2]\n")

        run("send", WebhookFactory().id, "--data", f"@{path}")

        assert bytes(Delivery.objects.get().payload) == b"[1, 2]\n"

    def test_a_body_from_standard_input(self, monkeypatch):
        stdin = io.TextIOWrapper(io.BytesIO('{"é": 1}'.encode()))
        monkeypatch.setattr("sys.stdin", stdin)

        run("send", WebhookFactory().id, "--data", "-")

        assert bytes(Delivery.objects.get().payload) == '{"é": 1}'.encode()

    @pytest.mark.once
    @pytest.mark.parametrize("data", ["{", "NaN", '{"a": 1, "a": 2}', "@/no/such/file"])
    def test_a_body_that_cannot_be_sent_is_wrong_usage(self, data):
        both("send", WebhookFactory().id, "--data", data, code=2)

        assert not Delivery.objects.exists()

    @pytest.mark.once
    @pytest.mark.parametrize("ident", ["0" * 24, "x", ""])
    def test_an_unknown_webhook_is_wrong_usage(self, ident):
        assert both("send", ident, code=2)[1] == f"There is no webhook {ident}."

    def test_a_deleted_webhook_is_unknown(self):
        both("send", WebhookFactory(deleted_at=timezone.now()).id, code=2)

    def test_says_why_a_delivery_will_wait(self):
        webhook = WebhookFactory(stopped="paused")

        assert both("send", webhook.id)[1] == "It waits: The webhook is paused.\n"

    def test_the_same_idempotency_key_gives_the_same_delivery(self):
        webhook = WebhookFactory()
        first = run("send", webhook.id, "--idempotency-key", "k")

        assert run("send", webhook.id, "--idempotency-key", "k") == first
        both("send", webhook.id, "--idempotency-key", "k", "--data", "[]", code=1)

    def test_json_is_the_delivery_as_the_api_shows_it(self, client):
        webhook = WebhookFactory(verified_at=None)
        secret = AccessToken.issue(webhook.account)[1]

        shown = json.loads(run("send", webhook.id, "--json"))

        path = f"/deliveries/{shown['id']}"
        assert shown == client.get(path, headers={"authorization": f"Bearer {secret}"}).json()
        assert (shown["state"], shown["reason"]) == ("pending", "unverified")

    def test_waiting_in_vain_is_a_failure(self):
        _, err = both("send", WebhookFactory().id, "--wait", "--timeout", "0.2", code=1)

        assert "still pending after 0.2 s" in err


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("loopback")
class TestVerify:
    def test_a_webhook_that_echoes_the_challenge_passes(self):
        with Receiver(challenge=True) as receiver:
            webhook = WebhookFactory(url=receiver.url, verified_at=None)
            out = run("verify", webhook.id)

        assert out.startswith(f"ok      {webhook.id}")
        assert Webhook.objects.get().verified

    def test_one_failure_of_several_is_exit_code_1_with_advice(self):
        with Receiver(challenge=True) as good, Receiver(answer=404) as bad:
            WebhookFactory(url=good.url, verified_at=None)
            other = WebhookFactory(url=bad.url, verified_at=None)
            out, err = both("verify", "--all", code=1)

        assert "Add the GET handler" in out.splitlines()[1]
        assert out.splitlines()[1].startswith(f"failed  {other.id}")
        assert err == "1 webhook of 2 did not pass.\n"

    def test_json_for_scripts(self):
        with Receiver(answer=404) as bad:
            webhook = WebhookFactory(url=bad.url, verified_at=None)
            [outcome] = json.loads(run("verify", webhook.id, "--json", code=1))

        assert outcome["id"] == webhook.id
        assert (outcome["ok"], outcome["status"]) == (False, 404)
        assert outcome["error"]["kind"] == "v_404"

    def test_the_same_id_twice_is_asked_once(self):
        with Receiver(challenge=True) as receiver:
            webhook = WebhookFactory(url=receiver.url)
            run("verify", webhook.id, webhook.id)

            assert len(receiver.requests) == 1

    def test_waits_where_only_the_pace_forbids_it(self):
        with Receiver(challenge=True) as receiver:
            webhook = WebhookFactory(url=receiver.url)
            run("verify", webhook.id)
            run("verify", webhook.id)

        assert Attempt.objects.filter(exchange="verification", kind="").count() == 2

    @pytest.mark.parametrize("arguments", [[], ["--all", "0" * 24], ["0" * 24]])
    def test_wrong_usage(self, arguments):
        both("verify", *arguments, code=2)


@pytest.mark.django_db
class TestReplay:
    def test_queues_what_failed_since_again(self):
        webhook = WebhookFactory()
        recent, old = failed(webhook, 30), failed(webhook, 180)

        out = run("replay", "--since", "2h")

        assert out.splitlines()[-1] == "1 delivery will be sent again."
        recent.refresh_from_db()
        old.refresh_from_db()
        assert (recent.state, recent.tries, old.state) == ("pending", 0, "failed")

    def test_a_dry_run_changes_nothing(self):
        delivery = failed(WebhookFactory())

        out = run("replay", "--dry-run")

        assert out.splitlines()[-1] == "1 delivery would be sent again."
        delivery.refresh_from_db()
        assert delivery.state == "failed"

    def test_a_dry_run_counts_to_a_thousand_and_a_replay_takes_all(self):
        many, few = WebhookFactory(), WebhookFactory()
        ended = {"state": "failed", "finished_at": timezone.now(), "payload": b"{}"}
        Delivery.objects.bulk_create(Delivery(webhook=many, **ended) for _ in range(1005))
        failed(few)

        lines = run("replay", "--dry-run").splitlines()
        shown = json.loads(run("replay", "--dry-run", "--json"))
        out = run("replay")

        assert sorted(line.rpartition(" ")[2] for line in lines[:-1]) == ["1", "1,000+"]
        assert lines[-1] == "1,001+ deliveries would be sent again."
        assert shown["webhooks"] == {many.id: 1001, few.id: 1}
        assert out.splitlines()[-1] == "1,006 deliveries will be sent again."

    def test_of_one_webhook_since_a_date(self):
        mine, other = WebhookFactory(), WebhookFactory()
        failed(mine)
        failed(other)

        shown = json.loads(run("replay", "--webhook", mine.id, "--since", "2020-01-01", "--json"))

        assert shown == {"total": 1, "dryRun": False, "webhooks": {mine.id: 1}}
        assert Delivery.objects.filter(state="failed").get().webhook == other

    def test_nothing_to_do_is_done(self):
        assert run("replay") == "0 deliveries will be sent again.\n"

    @pytest.mark.once
    @pytest.mark.parametrize("since", ["yesterday", "2999-01-01", "2h ago"])
    def test_wrong_times(self, since):
        with pytest.raises(CommandError):
            call_command("webhooks", "replay", "--since", since)


@pytest.mark.django_db
class TestStatus:
    def test_says_that_nobody_works(self):
        assert "No worker is alive" in run("status", code=1)
        assert json.loads(run("status", "--json", code=1))["workers"] == []

    def test_takes_djangos_own_options_after_the_verb(self):
        assert run("status", "--no-color", "-v", "0", "--settings", "project.settings", code=1)

    def test_counts_what_waits_and_what_is_wrong(self):
        Worker.objects.create(id="w", host="box", pid=7, slots=64, in_flight=3)
        webhook = WebhookFactory(stopped="paused", health={"failures_in_row": 5})
        WebhookFactory(verified_at=None)
        DeliveryFactory(webhook=webhook)
        DeliveryFactory(webhook=webhook, due_at=timezone.now() + timedelta(hours=1))
        failed(webhook)

        out = run("status")
        shown = json.loads(run("status", "--json"))

        assert "1 worker alive" in out
        assert re.search(r"box:7 .* \d+ s ago ", out)
        assert "webhooks    2, 1 failing; not called: 1 paused, 1 unverified" in out
        assert "0 due, 0 later, 1 given up in the last 24 h; held: 2 paused" in out
        assert shown["workers"][0]["inFlight"] == 3
        held = {"paused": 2} | dict.fromkeys(
            (
                "gone",
                "failing",
                "blocked",
                "unknown",
                "unreadable",
                "unverified",
                "breaker",
                "rate",
            ),
            0,
        )
        of_deliveries = held | {"order": 0, "unrecorded": 0}
        counts = {"due": 0, "held": of_deliveries, "later": 0, "unrecorded": 0, "failedLast24h": 1}
        assert shown["deliveries"] == counts
        assert shown["webhooks"]["held"] == held | {"paused": 1, "unverified": 1}
        assert shown["oldestDueAt"] == ""
        Webhook.objects.update(stopped="")
        assert json.loads(run("status", "--json"))["oldestDueAt"]

    def test_counting_ends_at_a_thousand(self, django_assert_max_num_queries):
        webhook = WebhookFactory()
        Delivery.objects.bulk_create(Delivery(webhook=webhook, payload=b"{}") for _ in range(1005))

        with django_assert_max_num_queries(29):
            out = run("status", code=1)

        assert "1,000+ due" in out


@pytest.mark.django_db
class TestExplain:
    def test_a_failed_delivery_with_its_tries_and_advice(self):
        webhook = WebhookFactory()
        delivery = failed(webhook, reason="no tries left")
        AttemptFactory(
            webhook=webhook,
            delivery=delivery,
            status=500,
            kind="http_500",
            message="Request failed",
        )

        out = run("explain", delivery.id)

        assert f"Delivery {delivery.id} is failed since" in out
        assert "after 8 tries of 8" in out
        assert "What to do: Send the owner the answer" in out

    def test_of_a_webhook_whose_last_call_failed_it_says_what_to_do(self):
        now = timezone.now()
        health = {"last_error_kind": "tls_expired", "last_error_message": "certificate has expired"}
        failing = WebhookFactory(health={**health, "last_error_at": now})
        mended = WebhookFactory(
            health={**health, "last_error_at": now - timedelta(hours=1), "last_success_at": now}
        )

        assert "What to do: Ask the owner to renew it." in run("explain", failing.id)
        assert "What to do" not in run("explain", mended.id)

    def test_a_limited_webhook_says_by_whom_and_until_when(self):
        until = timezone.now() + timedelta(hours=1)
        own = WebhookFactory(rate_count=5, rate_seconds=60, health={"rests_until": until})
        asked = DeliveryFactory(webhook=WebhookFactory(health={"rests_until": until, "rests": 2}))
        both = WebhookFactory(
            health={"rests_until": until, "rests": 1, "breaker_until": until, "breaker_trips": 1}
        )
        moment = timestamp(until)
        assert f"its rate limit of 5/minute lets go before {moment}" in run("explain", own.id)
        said = run("explain", asked.id)
        assert "Its receiver asked for a pause (429, or 503 with Retry-After)." in said
        assert f"Calls go on at {moment}" in said
        said = run("explain", both.id)
        assert said.index("It is held: The webhook's breaker") < said.index("It is held, too: Its")
        assert json.loads(run("explain", asked.id, "--json"))["held"] == "rate"

    def test_a_held_webhook_names_the_reason(self):
        webhook = WebhookFactory(stopped="paused", stopped_note="until Monday")

        out = run("explain", webhook.id)

        assert "It is held: The webhook is paused." in out
        assert "Note: until Monday" in out

    def test_json_for_scripts(self):
        delivery = DeliveryFactory(webhook=WebhookFactory(verified_at=None))

        shown = json.loads(run("explain", delivery.id, "--json"))

        assert shown["held"] == "unverified"
        assert shown["delivery"]["id"] == delivery.id

    def test_text_of_others_cannot_command_the_terminal(self):
        webhook = WebhookFactory(name="\x1b[2Jevil\u202e\nname")

        out = run("explain", webhook.id)

        assert "\\u001b[2Jevil\\u202e\\u000aname" in out
        assert "\x1b" not in out

    def test_who_holds_up_whom(self):
        webhook = WebhookFactory(order="key")
        ahead = timezone.now() + timedelta(hours=1)
        failed = {"tries": 1, "due_at": ahead, "last_error": "Request failed"}
        head = DeliveryFactory(webhook=webhook, ordering_key="4711", position=7, **failed)
        behind = DeliveryFactory(webhook=webhook, ordering_key="4711", position=8)

        out = run("explain", behind.id)

        assert "the one before it waits for its next try" in out
        assert "It is sent in order with the key '4711', as number 8." in out
        assert f"Head of the line of '4711': delivery {head.id} since" in out
        assert "1 behind it, next try" in out
        assert "Request failed" in out

    def test_a_reference_leads_to_its_newest_delivery_and_names_the_others(self):
        other = failed(WebhookFactory(name="Archive"), reference="order-4711", last_error="no way")
        newest = DeliveryFactory(reference="order-4711")
        DeliveryFactory(reference="order-4712")

        out = run("explain", "order-4711")

        assert out.startswith(f"Delivery {newest.id} ")
        assert f"Delivery {other.id} to Archive has this reference, too: failed, no way" in out
        shown = json.loads(run("explain", "order-4711", "--json"))
        assert (shown["delivery"]["id"], shown["others"]) == (newest.id, [other.id])

    def test_an_error_of_the_url_before_is_said_to_be_that(self):
        at = timezone.now()
        health = {"last_error_at": at, "last_error_message": "x", "last_error_kind": "refused"}
        webhook = WebhookFactory(health=health)
        AttemptFactory(webhook=webhook, kind="refused", message="x")
        cure = "Nothing accepts connections on that port"
        assert cure in run("explain", webhook.pk)

        actions.update_webhook(webhook, url="https://new.example.com/")

        out = run("explain", webhook.pk)
        assert "It was met at another URL than the present one." in out
        assert cure not in out

    def test_an_unknown_id_is_wrong_usage(self):
        both("explain", "0" * 24, code=2)


@pytest.mark.django_db
class TestDeleteAccount:
    def test_without_yes_it_only_says_how_much_there_is(self):
        account = WebhookFactory().account

        _, said = both("delete-account", account.name, code=2)

        assert "webhooks: 1, deliveries: 0, events: 0, access tokens: 0" in said
        assert "Nothing was removed" in said
        assert Webhook.objects.filter(account=account).exists()


@pytest.mark.django_db(transaction=True)
def test_an_account_is_deleted_with_all_that_is_its_own():
    account = failed(WebhookFactory()).webhook.account
    other = WebhookFactory()

    removed = json.loads(run("delete-account", account.name, "--yes", "--json"))

    assert (removed["webhooks"], removed["deliveries"]) == (1, 1)
    assert [*Webhook.objects.all()] == [other]
    assert AuditEntry.objects.filter(action="Deleted.").exists()


@pytest.mark.django_db
class TestPurge:
    def test_removes_what_finished_long_ago_and_keeps_what_may_be_sent(self):
        webhook = WebhookFactory()
        failed(webhook, minutes_ago=60 * 24 * 31)
        kept = failed(webhook), DeliveryFactory(webhook=webhook)

        run("purge")

        assert set(Delivery.objects.all()) == set(kept)

    def test_a_dry_run_only_counts(self):
        failed(WebhookFactory(), minutes_ago=180)

        shown = json.loads(run("purge", "--older-than", "2h", "--dry-run", "--json"))

        assert (shown["deliveries"], shown["dryRun"]) == (1, True)
        assert Delivery.objects.exists()

    @pytest.mark.once
    @pytest.mark.parametrize("age", ["2", "30 days", "-1d", ""])
    def test_wrong_ages(self, age):
        with pytest.raises(CommandError):
            call_command("webhooks", "purge", "--older-than", age)


@pytest.mark.django_db
class TestRebuildCounts:
    @pytest.fixture(autouse=True)
    def frozen(self):
        """No hour ends between the attempts and the count."""
        with time_machine.travel(timezone.now(), tick=False):
            yield

    def test_counts_the_attempts_and_says_how_many(self):
        webhook = WebhookFactory()
        AttemptFactory(webhook=webhook, status=200)
        AttemptFactory(webhook=webhook, kind="http_500", message="no", status=500)

        said = run("rebuild-counts")

        assert said == "1 hour looked at, 1 hourly count written, health of 1 webhook\n"
        assert HourlyCount.objects.get(webhook=webhook).failed == 1
        assert WebhookHealth.objects.get(webhook=webhook).failures_in_row == 1

    def test_since_and_json(self):
        AttemptFactory(ended_at=timezone.now() - timedelta(hours=5))
        AttemptFactory()

        shown = json.loads(run("rebuild-counts", "--since", "2h", "--json"))

        assert shown == {"hours": 1, "hourlyCounts": 1, "webhooks": 2}


@pytest.mark.django_db(transaction=True)
class TestTest:
    def test_sends_either_generation_or_an_interaction_of_ones_own(self, loopback):
        webhook = WebhookFactory()
        with FakeReceiver() as receiver:
            assert run("test", webhook.id).startswith("ok ")
            run("test", webhook.id, "--generation", "1")
            shown = json.loads(run("test", webhook.id, "--data", '{"chatId": "c"}', "--json"))
        second, first, own = (request.json for request in receiver.requests)
        assert ("result" in second, "result" in first) == (False, True)
        assert own["chatId"] == "c"
        assert (shown["ok"], shown["status"], shown["error"]) == (True, 200, None)

    def test_ends_with_1_when_the_receiver_fails(self):
        webhook = WebhookFactory()
        with FakeReceiver(500):
            assert "status code 500" in run("test", webhook.id, code=1)

    @pytest.mark.once
    @pytest.mark.parametrize(
        "data", ["{", "[]", '{"attributes": 1}', "@/nowhere"], ids=["json", "list", "shape", "file"]
    )
    def test_what_cannot_be_sent_is_wrong_usage(self, data):
        webhook = WebhookFactory()
        with FakeReceiver() as receiver:
            run("test", webhook.id, "--data", data, code=2)
        assert not receiver.requests


class TestRotateSecret:
    def test_the_new_secret_stands_alone_on_standard_output(self, db):
        webhook = WebhookFactory()
        old = actions.reveal_secret(webhook)
        out, err = both("rotate-secret", webhook.id)
        new = out.strip()
        assert actions.reveal_secret(webhook) == new != old
        assert err == "The old secret signs beside it for 24 h.\n"
        assert webhook.signing_keys.usable().count() == 2
        assert AuditEntry.objects.get().door == "command"

    def test_as_json_and_without_an_overlap(self, db):
        webhook = WebhookFactory()
        told = json.loads(run("rotate-secret", webhook.id, "--grace", "0s", "--json"))
        assert told == {"key": actions.reveal_secret(webhook), "gracePeriodSeconds": 0}
        assert webhook.signing_keys.count() == 1

    @pytest.mark.parametrize("wrong", [["nothing"], ["{id}", "--grace", "8d"]])
    def test_wrong_usage(self, db, wrong):
        webhook = WebhookFactory()
        run("rotate-secret", *(word.format(id=webhook.id) for word in wrong), code=2)
        assert not webhook.signing_keys.exists()
