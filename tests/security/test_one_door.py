"""Nothing but the engine can open a connection: the second path that skips the check is not there.

The linter forbids the modules of sockets and HTTP outside `engine/`; it knows top-level names only,
so this looks for those inside the standard library and Django too.
"""

import ast
from pathlib import Path

import pytest

import webhooks_app

pytestmark = pytest.mark.once

APP = Path(webhooks_app.__file__).parent
NETWORK = {
    *("socket", "ssl", "http.client", "http.server", "urllib.request", "urllib3", "requests"),
    *("httpx", "aiohttp", "httptools", "aiodns", "pycares", "smtplib", "ftplib", "poplib"),
    *("imaplib", "telnetlib", "socketserver", "xmlrpc", "websockets", "grpc", "paramiko"),
    "django.core.mail",
}
CALLS = {"create_connection", "open_connection", "create_datagram_endpoint", "urlopen", "Popen"}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def reached(path):
    """The modules and calls of the network that a file names."""
    tree = ast.parse(path.read_text())
    modules = {name for name in imported(tree) for n in NETWORK if f"{name}.".startswith(f"{n}.")}
    calls = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in CALLS}
    return modules | calls


FILES = sorted(APP.rglob("*.py"))


def test_only_the_engines_own_door_names_the_network():
    found = {path.relative_to(APP).as_posix(): reached(path) for path in FILES}
    found = {name: what for name, what in found.items() if what}
    inside = {name for name in found if name.startswith("engine/")}
    assert {
        "engine/http/sender.py",
        "engine/http/connection.py",
        "engine/http/resolver.py",
    } <= inside
    outside = {name: what for name, what in found.items() if name not in inside}
    assert outside == ALLOWED


# The supervisor starts our own command as processes; nothing of a user's goes there.
ALLOWED = {"management/supervisor.py": {"Popen"}}


def test_every_exchange_is_made_by_the_one_sender():
    """`.send(request, timeout=…)` is the door; whoever calls it holds the sender of its process."""
    callers = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                names = {keyword.arg for keyword in node.keywords}
                if node.func.attr == "send" and "timeout" in names:
                    callers.add(path.relative_to(APP).as_posix())
    callers.discard("engine/http/sender.py")  # itself, for an access token
    engine = {"engine/calls.py", "engine/sending.py", "engine/verifier.py"}
    assert callers == engine | {"actions/interactions.py", "testing.py"}
