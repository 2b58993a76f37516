"""Two at once: updates, a delete during a delivery, a change during a verification."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from tests.api.conftest import Api
from tests.factories import WebhookFactory
from tests.receivers import Answer, Receiver
from tests.waiting import PATIENCE
from webhooks_app import actions
from webhooks_app.models import AccessToken, Attempt, AuditEntry, Webhook

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("loopback")]


def side_by_side(*works):
    """What each returns; all begin at the same moment."""
    start = threading.Barrier(len(works))

    def run(work):
        try:
            start.wait(PATIENCE)
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result(PATIENCE) for future in [pool.submit(run, work) for work in works]]


def whole(letter):
    return {
        "name": letter,
        "url": f"https://receiver.example.com/{letter}",
        "token": letter,
        "headers": [{"name": f"X-{letter}-{n}", "value": letter} for n in range(5)],
        "auth": {"username": letter, "password": letter},
    }


def test_of_puts_at_once_one_wins_whole(account, secret):
    webhook = WebhookFactory(account=account)
    address = f"/webhooks/{webhook.pk}"
    for _ in range(3):
        answers = side_by_side(
            *(lambda letter=letter: Api(secret).put(address, whole(letter)) for letter in "abcd")
        )
        assert {answer.status_code for answer in answers} == {200}
        body = Api(secret).get(address).json()
        assert {key: body[key] for key in whole("a")} == whole(body["name"])
    noted = AuditEntry.objects.filter(action__startswith="Changed")
    assert Webhook.objects.get().version == 1 + noted.count()  # each change is noted once


def test_a_put_and_a_delete_at_once_leave_no_secret_behind(account, secret):
    for _ in range(5):
        webhook = WebhookFactory(account=account, token="t", headers=[("X-One", "v")])
        address = f"/webhooks/{webhook.pk}"
        put, deleted = side_by_side(
            lambda a=address: Api(secret).put(a, whole("a")),
            lambda a=address: Api(secret).delete(a),
        )
        assert deleted.status_code == 200
        assert put.status_code in (200, 404)
        row = Webhook.objects.get(pk=webhook.pk)
        assert row.deleted_at is not None
        assert (row.token, row.auth_username, row.auth_password) == ("", "", "")
        assert not row.headers.exists()


class Gate:
    """A receiver that says it was called, and answers when it is told to."""

    def __init__(self, challenge=False):
        self.called, self.go = threading.Event(), threading.Event()
        self.echo = challenge

    def __call__(self, request):
        self.called.set()
        self.go.wait(PATIENCE)
        return Answer(200, request.query["challenge"][0] if self.echo else {})


def meanwhile(gate, work, between):
    """`between` is done while the receiver has the request of `work` and has not answered."""

    def disturb():
        assert gate.called.wait(PATIENCE)
        try:
            return between()
        finally:
            gate.go.set()

    return side_by_side(work, disturb)


def test_a_delete_during_a_call_is_final_and_the_call_is_recorded(account, secret):
    gate = Gate()
    with Receiver(answer=gate) as receiver:
        webhook = WebhookFactory(account=account, url=receiver.url, token="t")
        address = f"/webhooks/{webhook.pk}"
        answered, deleted = meanwhile(
            gate,
            lambda: Api(secret).post(f"{address}/interactions", {}),
            lambda: Api(secret).delete(address),
        )
    assert (answered.status_code, deleted.status_code) == (200, 200)
    row = Webhook.objects.get()
    assert row.deleted_at is not None
    assert row.token == ""
    assert Attempt.objects.get().ok
    assert Api(secret).get(address).status_code == 404


@pytest.mark.parametrize("change", [{"path": "/other"}, {"token": "new"}])
def test_a_verification_belongs_to_what_it_was_sent_to(account, change):
    """The URL or token changes while the receiver thinks: what passed was the old one."""
    gate = Gate(challenge=True)
    with Receiver(answer=gate) as receiver:
        webhook = WebhookFactory(account=account, url=receiver.url, token="t", verified_at=None)
        fields = {"token": "new"} if "token" in change else {"url": receiver.url + "/other"}
        attempt, _ = meanwhile(
            gate,
            lambda: actions.verify(webhook),
            lambda: actions.update_webhook(webhook, **fields),
        )
    assert attempt.ok
    row = Webhook.objects.get()
    assert row.verified_at is None
    assert row.verification == "waiting"


def test_a_token_revoked_in_another_thread_is_refused_at_once(account):
    token, secret = AccessToken.issue(account)
    assert Api(secret).get("/webhooks").status_code == 200
    assert side_by_side(lambda: actions.revoke_token(token, by="mira")) == [True]
    assert Api(secret).get("/webhooks").status_code == 401
    assert side_by_side(*[lambda: actions.revoke_token(token, by="mira")] * 3) == [False] * 3
    assert AuditEntry.objects.filter(action="Revoked.").count() == 1
