"""Every route and verb, with another account's ids in path, query and body: nothing of it shows or
moves, and foreign ids answer as unknown ones do. New routes join by themselves."""

import json
import re

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from tests.factories import (
    AccountFactory,
    AttemptFactory,
    DeliveryFactory,
    UserFactory,
    WebhookFactory,
)
from webhooks_app import urls, urls_events
from webhooks_app.api import docs
from webhooks_app.models import (
    AccessToken,
    Account,
    Attempt,
    Delivery,
    Event,
    EventBody,
    EventType,
    Header,
    SigningKey,
    Subscription,
    Webhook,
    WebhookHealth,
)
from webhooks_app.rules.ids import new_id

MARK = "foreign-mark"


def operations():
    """(method, path with {id}, view class) of everything below the app's include."""
    found = []
    for pattern in (*urls.urlpatterns, *urls_events.urlpatterns):
        route = str(pattern.pattern)
        if route.startswith("^") or route.endswith("/"):
            continue  # any other path, and the same ones again with a slash
        view = pattern.callback
        for method in view.actions:
            if method != "head":
                found.append((method.upper(), "/" + re.sub(r"<[\w:]+>", "{id}", route), view.cls))
    return found


OPERATIONS = operations()
WITH_ID = [operation for operation in OPERATIONS if "{id}" in operation[1]]


def name(operation):
    return f"{operation[0]} {operation[1]}"


def one_of_everything(account, word):
    """A webhook that no call leaves (its address is refused), a delivery, an attempt."""
    webhook = WebhookFactory(
        account=account,
        name=f"{word}-name",
        url=f"http://127.0.0.1:9/{word}",
        token=f"{word}-token",
        stopped="paused",
        stopped_note=f"{word}-stopped_note",
        auth_username=f"{word}-auth_username",
        auth_password=f"{word}-auth_password",
        headers=[(f"X-{word}", f"{word}-value")],
        health={"last_error_message": f"{word}-message", "last_error_at": timezone.now()},
    )
    SigningKey.objects.create(webhook=webhook, secret=f"whsec_{word}-secret")
    delivery = DeliveryFactory(
        webhook=webhook,
        type=f"{word}-type",
        reference=f"{word}-reference",
        payload=json.dumps(f"{word}-payload").encode(),
        state="failed",
        tries=8,
        last_error=f"{word}-error",
        finished_at=timezone.now(),
    )
    attempt = AttemptFactory(
        webhook=webhook,
        delivery=delivery,
        kind="reset",
        message=f"{word}-failure",
        answer=f"{word}-answer",
    )
    event = Event.objects.create(
        account=account,
        type=f"{word}.type",
        payload=json.dumps(f"{word}-event").encode(),
        key=f"{word}-key",
        channels=(f"{word}-channel",),
        ordering_key=f"{word}-order",
        subject=f"{word}-subject",
        reference=f"{word}-event-reference",
        deliver_at=timezone.now(),
        created_by=f"{word}-by",
    )
    EventBody.objects.create(event=event, form="thin", content_type="x", payload=b"1")
    DeliveryFactory(webhook=webhook, event=event, form="thin", payload=b"", type=event.type)
    Subscription.objects.create(
        account=account,
        webhook=webhook,
        number=0,
        pattern=f"{word}.*",
        channels=(f"{word}-channel",),
        filter=json.dumps({f"{word}-field": 1}),
        valid_from=timezone.now(),
    )
    EventType.objects.create(
        account=account,
        name=f"{word}.type",
        group=f"{word}-group",
        description=f"{word}-description",
        example=json.dumps(f"{word}-example"),
    )
    return {
        "webhook": webhook.pk,
        "delivery": delivery.pk,
        "attempt": attempt.pk,
        "event": event.pk,
        "event_type": f"{word}.type",
    }


def rows_of(account):
    """Every row of the account, as it is stored."""
    sets = [
        Account.objects.filter(pk=account.pk),
        AccessToken.objects.filter(account=account),
        Webhook.objects.filter(account=account),
        Header.objects.filter(webhook__account=account),
        SigningKey.objects.filter(webhook__account=account),
        WebhookHealth.objects.filter(webhook__account=account),
        Delivery.objects.filter(webhook__account=account),
        Attempt.objects.filter(webhook__account=account),
        Event.objects.filter(account=account),
        EventBody.objects.filter(event__account=account),
        EventType.objects.filter(account=account),
        Subscription.objects.filter(account=account),
    ]
    return [sorted(map(repr, rows.values_list())) for rows in sets]


class Caller:
    """Somebody of our own account: a token of some scope, or the session of a member."""

    def __init__(self, account, kind):
        self.client, self.headers = Client(raise_request_exception=False), {}
        if kind == "member":
            user = UserFactory(password="!")
            ours = Permission.objects.filter(content_type__app_label="webhooks_app")
            user.user_permissions.set(ours)
            account.members.add(user)
            self.client.force_login(user)
        else:
            secret = AccessToken.issue(account, scope=kind)[1]
            self.headers = {"HTTP_AUTHORIZATION": f"Bearer {secret}"}

    def send(self, operation, ident, body=None, query=""):
        method, path, view = operation
        if body is None:
            body = view.example
        return self.client.generic(
            method,
            path.format(id=ident) + query,
            json.dumps(body) if method in ("POST", "PUT", "PATCH") else "",
            content_type="application/json",
            **self.headers,
        )


@pytest.fixture
def foreign(db):
    account = AccountFactory(name=MARK)
    ids = one_of_everything(account, MARK)
    AccessToken.issue(account, name=MARK)
    return {**ids, "account": account, "before": rows_of(account)}


@pytest.fixture
def ours(account):
    return one_of_everything(account, "ours")


def nothing_shows(response, sent=""):
    assert response.status_code < 500
    assert MARK not in response.content.decode().replace(sent or MARK * 9, "")


def nothing_moved(foreign):
    assert rows_of(foreign["account"]) == foreign["before"]


def told(response):
    """What the answer says, whenever it was given."""
    body = json.loads(response.content)
    body.pop("timestamp")
    of_this_one = ("Content-Length", "X-Request-Id")
    headers = {k: v for k, v in response.headers.items() if k not in of_this_one}
    return response.status_code, body, headers


@pytest.mark.once
@pytest.mark.parametrize("operation", WITH_ID, ids=map(name, WITH_ID))
def test_a_foreign_id_in_the_path_answers_as_an_unknown_one(account, foreign, ours, operation):
    for kind in ("manage", "read", "send", "member"):
        caller = Caller(account, kind)
        unknown = told(caller.send(operation, new_id()))
        assert unknown[0] == 404
        for ident in (foreign[name] for name in ("webhook", "delivery", "event", "event_type")):
            response = caller.send(operation, ident)
            assert told(response) == unknown
            nothing_shows(response)
    nothing_moved(foreign)


NAMES = {
    "webhook": ("id", "webhook", "webhookId", "webhook_id", "after", "since", "search", "type"),
    "delivery": ("id", "delivery", "deliveryId", "delivery_id", "after", "reference", "state"),
    "attempt": ("attempt", "after", "limit"),
    "event": ("id", "event", "eventId", "event_id", "after", "subject", "channel", "orderingKey"),
    "event_type": ("type", "types", "name", "group", "after", "pattern"),
}


def smuggled(foreign):
    """Query strings and body fields that name what is not ours, under any name we can think of."""
    for model, names in NAMES.items():
        for word in names:
            yield word, foreign[model]
    for word in ("account", "accountId", "account_id", "owner", "tenant"):
        yield word, MARK
        yield word, foreign["account"].pk
    for word in ("name", "reference", "type"):
        yield word, f"{MARK}-{word}"
    yield "search", MARK
    for word in ("ids", "webhooks", "deliveries"):
        yield word, [foreign["webhook"], foreign["delivery"]]


SMUGGLERS = [
    pytest.param(operation, kind, id=f"{name(operation)} {kind}")
    for operation in OPERATIONS
    for kind in ("manage", "member")
    if kind == "manage" or operation[0] == "GET"  # whose rows it sees does not hang on the verb
]


@pytest.mark.once
@pytest.mark.parametrize(("operation", "kind"), SMUGGLERS)
def test_foreign_ids_in_query_and_body_reach_nothing(account, foreign, ours, operation, kind):
    caller = Caller(account, kind)
    method, _, view = operation
    ident = ours[view.target]
    for word, value in smuggled(foreign):
        text = ",".join(value) if isinstance(value, list) else str(value)
        nothing_shows(caller.send(operation, ident, query=f"?{word}={text}"), text)
    if method in ("POST", "PUT", "PATCH") and isinstance(view.example, dict):
        named = dict(smuggled(foreign))
        beside = {word: value for word, value in named.items() if word not in view.example}
        nothing_shows(caller.send(operation, ident, {**view.example, **beside}))
        for word in set(named) & set(view.example):
            body = {**view.example, word: named[word]}
            nothing_shows(caller.send(operation, ident, body), str(named[word]))
    nothing_moved(foreign)


def test_the_walk_meets_every_verb_of_the_description():
    described = docs.description()["paths"]
    there = {(m.upper(), path) for path, verbs in described.items() for m in verbs}
    assert there == {(method, path) for method, path, _ in OPERATIONS}
    assert len(OPERATIONS) >= 18


def test_the_walk_would_notice_a_leak(account, foreign, ours, monkeypatch):
    """The same walk, with a door left open on purpose."""
    from webhooks_app.api.authentication import TokenCaller

    def any_webhook(self, ident, *, secrets):
        return Webhook.objects.live().filter(pk=ident).first()

    monkeypatch.setattr(TokenCaller, "webhook", any_webhook)
    response = Caller(account, "manage").send(
        ("GET", "/webhooks/{id}", None), foreign["webhook"], {}
    )
    with pytest.raises(AssertionError):
        nothing_shows(response)


@pytest.mark.parametrize("operation", WITH_ID, ids=map(name, WITH_ID))
def test_a_deleted_webhook_and_what_was_its_own_are_unknown(account, ours, operation):
    Webhook.objects.filter(pk=ours["webhook"]).update(deleted_at=timezone.now())
    caller = Caller(account, "manage")
    for ident in (ours["webhook"], ours["delivery"]):
        assert told(caller.send(operation, ident)) == told(caller.send(operation, new_id()))


def test_a_session_loses_an_account_with_its_membership_at_once(account, ours):
    caller = Caller(account, "member")
    read = ("GET", "/webhooks/{id}", None)
    assert caller.send(read, ours["webhook"], {}).status_code == 200
    account.members.clear()
    assert caller.send(read, ours["webhook"], {}).status_code == 404
