"""A process's own metrics on a port of its own: for whoever has the token, and never in the way."""

import signal
import socket

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.alerts.promql import Query, Samples
from tests.commands.conftest import site  # noqa: F401
from tests.ports import free_port
from tests.receivers import Receiver
from tests.waiting import PATIENCE, until
from webhooks_app.engine import metrics_port, timings

TOKEN = "metrics-s3cret"
HEAD = f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"


@pytest.fixture
def port(settings, monkeypatch):
    monkeypatch.setattr(timings, "kept", False)  # as it is put back
    settings.WEBHOOKS_METRICS_TOKEN = TOKEN
    settings.WEBHOOKS_METRICS_PORT = free_port(3)
    return settings.WEBHOOKS_METRICS_PORT


def status(port, token=TOKEN, method="GET", path="/metrics"):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    address = f"http://127.0.0.1:{port}{path}"
    return requests.request(method, address, headers=headers, timeout=30)


def asked(head, address="192.0.2.1", door=None):
    """The status that answers this."""
    answer = (door or metrics_port.Door()).respond(head.encode("latin-1"), address)
    return int(answer.split(b" ")[1])


def test_the_next_process_takes_the_next_port(port, caplog):
    assert [metrics_port.open_port() for _ in range(2)] == [port, port + 1]
    assert f"at port {port + 1}; those from {port} on are taken" in caplog.text
    for own in (port, port + 1):
        answer = status(own)
        assert answer.status_code == 200
        names = {family.name for family in text_string_to_metric_families(answer.text)}
        assert "webhooks_attempt_seconds" in names


def test_it_listens_on_this_machine_alone_unless_told_otherwise(port, settings, caplog):
    taken = metrics_port.open_port()
    with socket.socket() as elsewhere:
        elsewhere.bind(("127.0.0.2", taken))  # it is free there
    settings.WEBHOOKS_METRICS_ADDRESS = "192.0.2.1"  # no address of this machine
    assert metrics_port.open_port() is None
    assert "no port for metrics: 192.0.2.1" in caplog.text


def test_where_all_ports_are_taken_a_line_says_so(port, monkeypatch, caplog):
    monkeypatch.setattr(metrics_port, "PORTS", 1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        assert metrics_port.open_port() is None
    assert f"all from {port} on are taken" in caplog.text


def test_without_a_token_there_is_no_port(port, settings, caplog):
    settings.WEBHOOKS_METRICS_TOKEN = ""
    assert metrics_port.open_port() is None
    assert "WEBHOOKS_METRICS_TOKEN is not set" in caplog.text
    settings.WEBHOOKS_METRICS_PORT = 0
    caplog.clear()
    assert metrics_port.open_port() is None
    assert caplog.text == ""


@pytest.mark.usefixtures("port")
@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (HEAD, 200),
        (HEAD.replace("Bearer ", "bearer   "), 200),
        (HEAD.replace("/metrics", "/metrics?a=b"), 200),
        (HEAD.replace("Bearer ", "Basic "), 401),
        (HEAD.replace(TOKEN, "wrong"), 401),
        (HEAD.replace(TOKEN, "wr\xf6ng"), 401),
        (HEAD.replace("Authorization", "X-Authorization"), 401),
        (HEAD.replace("/metrics", f"/metrics?token={TOKEN}").replace("Bearer", ""), 401),
        (HEAD.replace("/metrics", "/"), 404),
        (HEAD.replace("GET", "POST"), 405),
        ("nothing of HTTP\r\n\r\n", 405),
        ("", 400),
    ],
)
def test_what_it_answers(head, expected):
    assert asked(head) == expected


@pytest.mark.usefixtures("port")
def test_who_guesses_the_token_is_not_listened_to_any_more(settings):
    settings.WEBHOOKS_FAILED_AUTHENTICATIONS = 2
    door = metrics_port.Door()
    wrong = HEAD.replace(TOKEN, "wrong")
    assert [asked(head, door=door) for head in (wrong, wrong, wrong, HEAD)] == [401, 401, 429, 429]
    assert asked(HEAD, "192.0.2.2", door) == 200
    for number in (1, 2):
        assert asked(wrong, f"2001:db8::{number}", door) == 401
    assert asked(HEAD, "2001:db8::3", door) == 429  # one customer has a whole /64
    assert asked(HEAD, "2001:db8:0:1::3", door) == 200


def test_who_says_nothing_or_too_much_keeps_nobody_from_it(port):
    own = metrics_port.open_port()
    silent = [socket.create_connection(("127.0.0.1", own)) for _ in range(20)]
    with socket.create_connection(("127.0.0.1", own)) as endless:
        endless.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * metrics_port.HEAD_MOST)
        assert endless.recv(100).startswith(b"HTTP/1.1 400 ")
    assert status(own).status_code == 200
    assert status(own, method="HEAD").content == b""
    for line in silent:
        line.close()


COUNTED = (
    "from webhooks_app.models import Counter;"
    "rows = Counter.objects.filter(name='delivery').values_list('count', flat=True);"
    "print(sum(rows))"
)


@pytest.mark.slow
def test_rates_are_right_over_the_restart_of_a_worker(site):  # noqa: F811
    port = free_port()
    site.environment |= {"WEBHOOKS_METRICS_TOKEN": TOKEN, "WEBHOOKS_METRICS_PORT": str(port)}
    ours, own, at = Samples(), Samples(), 0.0

    def scrape():
        nonlocal at
        at += 15
        code = "from webhooks_app.api.metrics import exposition; print(exposition().decode())"
        ours.add(at, site.shell(code)[-1])
        own.add(at, text := status(port).text)
        return text

    def deliver(count, told):
        site.shell(
            "from webhooks_app import actions; from webhooks_app.models import Webhook;"
            f"actions.deliver_many([(Webhook.objects.get(), n) for n in range({count})])"
        )
        line = f'webhooks_attempt_seconds_count{{kind="delivery"}} {told}.0'
        until(lambda: line in status(port).text)
        counted = [str(sum(delivered))]
        until(lambda: site.shell(COUNTED) == counted)
        return scrape()

    delivered = []
    with Receiver() as receiver:
        site.webhook(receiver.url)
        worker = site.start("webhooks", "deliver")
        until(lambda: "ready" in worker.stdout.readline())
        scrape()
        delivered.append(5)
        deliver(5, told=5)
        worker.send_signal(signal.SIGKILL)
        worker.wait(PATIENCE)
        worker = site.start("webhooks", "deliver")
        until(lambda: "ready" in worker.stdout.readline())
        scrape()
        delivered.append(3)
        text = deliver(3, told=3)
    assert 'webhooks_first_call_seconds_bucket{le="60.0"} 3.0' in text
    assert "webhooks_process_resident_memory_bytes" in text
    for samples, query in (
        (ours, 'sum(increase(webhooks_attempts_total{kind="delivery"}[1m]))'),
        (own, 'sum(increase(webhooks_attempt_seconds_count{kind="delivery"}[1m]))'),
        (ours, "sum(increase(webhooks_deliveries_accepted_total[1m]))"),
    ):
        # From nought on, and up to now: nothing of it is guessed.
        assert Query(query).at(samples, at) == {frozenset(): sum(delivered)}, query
