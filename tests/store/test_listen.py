"""A worker hears at once of what others commit."""

import asyncio
import contextlib
import threading

import pytest
from django.db import connection, transaction

from tests.factories import WebhookFactory
from tests.waiting import PATIENCE
from webhooks_app import actions
from webhooks_app.engine import store
from webhooks_app.engine.http.bridge import new_event_loop
from webhooks_app.models import Delivery

pytestmark = pytest.mark.django_db(transaction=True)


@contextlib.contextmanager
def listening():
    """An event that is set whenever something is heard; it has listened already."""
    heard, ended = threading.Event(), threading.Event()

    async def main():
        task = asyncio.create_task(store.open("default").listen(heard.set))
        await asyncio.to_thread(ended.wait)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def run():
        with contextlib.closing(new_event_loop()) as loop:  # as a worker has it
            loop.run_until_complete(main())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert heard.wait(PATIENCE)
        heard.clear()
        yield heard
    finally:
        ended.set()
        thread.join()


def test_a_delivery_is_heard_of_when_it_is_committed():
    webhook = WebhookFactory()
    with listening() as heard:
        assert not heard.wait(0.1)
        actions.deliver(webhook, {})
        assert heard.wait(PATIENCE)


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite is of one host")
def test_whoever_was_cut_off_listens_again():
    with listening() as heard:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE query LIKE 'LISTEN %' AND datname = current_database()"
            )
        assert heard.wait(PATIENCE)
        heard.clear()
        actions.deliver(WebhookFactory(), {})
        assert heard.wait(PATIENCE)


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="nothing is announced on SQLite")
def test_what_has_committed_is_no_failure_because_nobody_can_be_woken():
    webhook = WebhookFactory()
    session = connection.connection.info.backend_pid

    def cut_off():
        other = connection.copy()
        with contextlib.closing(other), other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [session])

    with transaction.atomic():
        transaction.on_commit(cut_off)
        stored = actions.deliver(webhook, {})
    connection.close()
    assert Delivery.objects.get() == stored
