"""When what is due at once is due from: looks reach back to the last commit that they saw."""

import threading
import time

import pytest
from django.db import connection

from tests.api.test_locked import locked
from tests.factories import WebhookFactory
from tests.waiting import PATIENCE
from webhooks_app import actions
from webhooks_app.models import Delivery
from webhooks_app.models.primary import clock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("number", [1, 3])
def test_from_when_the_writes_of_others_have_ended(number):
    """Others may commit for long meanwhile, on SQLite."""
    webhook = WebhookFactory()

    def store():
        try:
            actions.deliver_many([(webhook, {"n": n}) for n in range(number)])
        finally:
            connection.close()

    storing = threading.Thread(target=store)
    with locked():
        storing.start()
        time.sleep(0.5)
        released_at = clock("default")
    storing.join(PATIENCE)
    due = Delivery.objects.values_list("due_at", "created_at")
    if connection.vendor == "sqlite":
        assert all(due_at >= released_at for due_at, _ in due)
    assert [due_at == created_at for due_at, created_at in due] == [True] * number
