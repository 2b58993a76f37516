"""The name of a request: in its answer, in the lines of the log, with the delivery it stores."""

import io
import json
import logging
from contextlib import contextmanager

import pytest
from django.test import Client

from project.logs import Json, OneLine
from tests.admin.pages import page
from tests.api.conftest import Api
from tests.commands.test_webhooks import run
from tests.factories import DeliveryFactory, UserFactory, WebhookFactory
from tests.receivers import Receiver
from webhooks_app import actions, request_ids
from webhooks_app.engine import worker
from webhooks_app.engine.http import sender
from webhooks_app.models import Delivery
from webhooks_app.rules.ids import is_id

NAME = "Order-4711-a"


@contextmanager
def within(name):
    """As if a request of this name was served."""
    before = request_ids.current.set(name)
    yield
    request_ids.current.reset(before)


@pytest.fixture
def api(secret):
    return Api(secret)


@pytest.fixture
def webhook(account):
    return WebhookFactory(account=account)


@pytest.fixture
def lines():
    """What the JSON log says, as it is read."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(Json())
    logging.getLogger().addHandler(handler)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("given", [NAME, "a", "x" * 64])
def test_a_client_may_name_its_request(given):
    assert Client().get("/healthz", HTTP_X_REQUEST_ID=given)["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a_b", "ä", "a\n", "<b>", "a,b", "٣"])
def test_what_is_no_name_is_replaced_by_ours(given):
    names = {Client().get("/healthz", HTTP_X_REQUEST_ID=given)["X-Request-Id"] for _ in range(2)}
    assert len(names) == 2
    assert all(map(is_id, names))


def test_a_delivery_keeps_the_name_of_the_request_that_stored_it(api, webhook):
    path = f"/webhooks/{webhook.pk}/deliveries"
    keyed = {"HTTP_IDEMPOTENCY_KEY": "k"}
    first = api.post(path, {"n": 1}, HTTP_X_REQUEST_ID=NAME, **keyed).json()["id"]
    again = api.post(path, {"n": 1}, HTTP_X_REQUEST_ID="another", **keyed).json()["id"]
    assert (again, Delivery.objects.get(pk=first).stored_in) == (first, NAME)


def test_one_that_no_request_stored_has_none(webhook):
    stored = [actions.deliver(webhook, 1), *actions.deliver_many([(webhook, n) for n in range(20)])]
    assert {Delivery.objects.get(pk=one.pk).stored_in for one in stored} == {None}


def test_many_that_a_request_stores_have_its_name(webhook):
    with within(NAME):
        actions.deliver_many([(webhook, n) for n in range(20)])
    assert set(Delivery.objects.values_list("stored_in", flat=True)) == {NAME}


def test_staff_are_told_and_clients_are_not(api, webhook):
    delivery = DeliveryFactory(webhook=webhook, stored_in=NAME)
    addresses = (f"/deliveries/{delivery.pk}", f"/webhooks/{webhook.pk}/deliveries")
    assert not [path for path in addresses if NAME in api.get(path).content.decode()]
    boss, member = Client(), Client()
    boss.force_login(UserFactory(is_superuser=True))
    person = UserFactory(is_staff=False, is_superuser=False)
    webhook.account.members.add(person)
    member.force_login(person)
    for path in addresses:
        assert f'"requestId":"{NAME}"' in boss.get(path).content.decode().replace(": ", ":")
        assert NAME not in member.get(path).content.decode()
    assert NAME in boss.get(page(delivery, "delivery")).content.decode()
    assert NAME in run("explain", delivery.pk)


@pytest.mark.django_db(transaction=True)
def test_the_workers_lines_carry_it_and_the_receiver_gets_the_delivery_s_own(
    account, loopback, lines, monkeypatch
):
    with Receiver() as receiver:
        webhook = WebhookFactory(account=account, url=receiver.url)
        with within(NAME):
            delivery = actions.deliver(webhook, {"n": 1})
        send = sender.Sender.send

        async def odd_once(self, request, **how):
            monkeypatch.setattr(sender.Sender, "send", send)
            raise RuntimeError("odd")

        monkeypatch.setattr(sender.Sender, "send", odd_once)
        worker.run(until_empty=True)
        worker.run(until_empty=True)
    [call] = receiver.requests
    assert call.header("X-Request-Id") == call.header("webhook-id") == delivery.pk
    [line] = [line for line in lines() if delivery.pk in line["message"]]
    assert line["request_id"] == NAME
    assert "RuntimeError: odd" in line["exception"]


class TestLines:
    def test_a_record_is_an_object_on_one_line(self, lines):
        with within(NAME):
            logging.getLogger("webhooks").warning("two\nlines of %s", "ä\u202e")
        [line] = lines()
        assert line["message"] == "two\nlines of ä\u202e"
        assert (line["level"], line["logger"]) == ("WARNING", "webhooks")
        assert line["request_id"] == NAME
        assert line["time"].endswith("Z")

    def test_of_no_request_there_is_no_name(self, lines):
        logging.getLogger("webhooks").warning("of the worker itself")
        assert "request_id" not in lines()[0]

    def test_a_line_for_people_ends_with_it(self):
        record = logging.LogRecord("webhooks", logging.WARNING, "", 1, "slow", (), None)
        assert OneLine("%(message)s").format(record) == "slow"
        with within(NAME):
            assert OneLine("%(message)s").format(record) == f"slow [{NAME}]"

    def test_an_error_of_a_request_is_told_with_its_name(self, lines, api, monkeypatch):
        def breaks(*args, **kwargs):
            raise RuntimeError("broke")

        monkeypatch.setattr(actions, "create_webhook", breaks)
        api.client.raise_request_exception = False
        sent = {"name": "n", "url": "https://receiver.example.com/"}
        api.post("/webhooks", sent, HTTP_X_REQUEST_ID=NAME)
        assert {line["request_id"] for line in lines()} == {NAME}


class TestAccessLog:
    def test_a_request_is_a_line_without_its_query(self, lines, caplog):
        caplog.set_level(logging.INFO, "webhooks.access")
        Client().get("/healthz?secret=s3cret", HTTP_X_REQUEST_ID=NAME)
        [line] = [line for line in lines() if line["logger"] == "webhooks.access"]
        assert [line[name] for name in ("method", "path", "status")] == ["GET", "/healthz", 200]
        assert line["request_id"] == NAME
        assert line["duration_ms"] >= 0
        assert "s3cret" not in str(line)

    def test_nobody_asked_for_it(self, lines):
        Client().get("/healthz")
        assert [line for line in lines() if line["logger"] == "webhooks.access"] == []
