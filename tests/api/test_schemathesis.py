"""The API against its own description: no 5xx, every error in the envelope, no answer unsaid."""

from contextlib import contextmanager, nullcontext

import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.factories import AccountFactory, AttemptFactory, DeliveryFactory, WebhookFactory
from webhooks_app import actions
from webhooks_app.api import docs
from webhooks_app.models import AccessToken, Event

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

EXAMPLES, MANY = 3, 100  # per operation and mode, in every run and in `make prove`
CHECKED = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


DESCRIBED = schemathesis.openapi.from_dict(docs.description())
# These call out; what goes in and comes back is tested with real receivers.
OPERATIONS = {
    operation.label: operation
    for operation in (result.ok() for result in DESCRIBED.get_all_operations())
    if not operation.path.endswith(("/verify", "/test"))
}
WEBHOOK, DELIVERY = "5a21a9e21ec94a0007f9ac19", "58ee2e085d033800059a3f7f"
EVENT, TYPE = "68ee2e085d033800059a3f7f", "order.created"
IDS = {"/webhooks": WEBHOOK, "/deliveries": DELIVERY, "/events": EVENT, "/event-types": TYPE}


@pytest.fixture
def secrets(db):
    """Tokens of an account with one of everything; paused, so that no interaction calls out."""
    account = AccountFactory()
    webhook = WebhookFactory(id=WEBHOOK, account=account, stopped="paused", token="t")
    delivery = DeliveryFactory(id=DELIVERY, webhook=webhook)
    AttemptFactory(webhook=webhook, delivery=delivery, kind="reset", message="socket hang up")
    event = Event.objects.create(id=EVENT, account=account, type=TYPE, payload=b"[1]")
    DeliveryFactory(webhook=webhook, event=event, form="thin", payload=b"")
    actions.declare_event_type(account, TYPE, example={"n": 1})
    scopes = ("manage", "manage", "read", "send")
    return [*(AccessToken.issue(account, scope=scope)[1] for scope in scopes), ""]


@pytest.fixture(autouse=True)
def one_connection():
    """As Django's test client does: a request must not close the connection of our transaction."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@contextmanager
def rolled_back():
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.mark.parametrize(
    "examples", [EXAMPLES, pytest.param(MANY, marks=[pytest.mark.prove, pytest.mark.timeout(900)])]
)
@pytest.mark.parametrize("label", OPERATIONS)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_answer_is_as_described(label, mode, examples, secrets):
    operation = OPERATIONS[label]
    operation.app = WSGIHandler()

    cases = operation.as_strategy(generation_mode=mode)
    # What one example changes, the next must not find; an interaction refuses a transaction.
    undone = nullcontext if label.endswith("/interactions") else rolled_back

    @given(case=cases, choice=st.randoms(use_true_random=False))
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def check(case, choice):
        if "id" in (case.path_parameters or {}) and choice.random() < 0.9:
            case.path_parameters["id"] = IDS["/" + label.split("/")[1]]
        secret = choice.choice(secrets)
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        with undone():
            response = case.call(headers=headers)
        case.validate_response(response, checks=CHECKED)
        if response.status_code >= 400:
            status = response.json()["status"]
            assert (status["code"], status["type"]) == (response.status_code, "error")

    check()
