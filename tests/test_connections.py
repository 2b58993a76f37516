"""PostgreSQL ends sessions while processes live: the public API finds its way back."""

import asyncio

import psycopg
import pytest
from django.db import InterfaceError, OperationalError, connection

from tests.factories import WebhookFactory
from tests.receivers import Receiver
from tests.waiting import until
from webhooks_app import actions

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("not config.getoption('--db') == 'postgres'", reason="PostgreSQL only"),
]

OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def _others():
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) {OTHERS} AND backend_type = 'client backend'")
        return cursor.fetchone()[0]


def answers(count, webhook):
    """So many asynchronous interactions at once."""

    async def all_at_once():
        calls = [actions.ainteract(webhook, {}) for _ in range(count)]
        return await asyncio.gather(*calls)

    return all_at_once()


def test_asynchronous_interactions_go_on_when_sessions_end_and_leave_none_open(loopback):
    with Receiver({"responses": []}) as receiver, asyncio.Runner() as runner:
        webhook = WebhookFactory(url=receiver.url)
        # From now on each thread of the pool has been at it.
        runner.run(answers(12, webhook))
        # The server notices the end of a session in its own time.
        until(lambda: _others() == 0, "no session of a thread")
        runner.run(_open_in_each_thread())
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(pg_terminate_backend(pid)) {OTHERS}")
            assert cursor.fetchone()[0] > 0
        assert len(runner.run(answers(12, webhook))) == 12
        assert len(receiver.requests) == 24


async def _open_in_each_thread():
    """What a host project leaves behind in the threads of its pool."""
    from asgiref.sync import sync_to_async

    def query():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.2)")

    opened = sync_to_async(query, thread_sensitive=False)
    await asyncio.gather(*(opened() for _ in range(12)))


@pytest.mark.parametrize("verb", ["interact", "deliver"])
def test_in_a_process_without_requests_one_call_fails_and_the_next_does_not(loopback, verb):
    with Receiver({"responses": []}) as receiver:
        webhook = WebhookFactory(url=receiver.url)
        connection.ensure_connection()
        pid = connection.connection.info.backend_pid
        with psycopg.connect(connection.connection.info.dsn) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [pid])
        with pytest.raises((OperationalError, InterfaceError)):
            getattr(actions, verb)(webhook, {})
        getattr(actions, verb)(webhook, {})
