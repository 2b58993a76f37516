"""What stands in the environment and in `.env` is taken as it stands."""

import json
import os

import pytest
from cryptography.fernet import Fernet

from project import first_run
from tests import processes
from tests.processes import PROGRAM, ROOT

pytestmark = pytest.mark.once

KEY = "k3y$" * 15 + "ab"
SHOW = """
import json
from django.conf import settings
database = settings.DATABASES["default"]
names = ["SECRET_KEY", "ALLOWED_HOSTS", "DEFAULT_FROM_EMAIL", "WEBHOOKS_METRICS_TOKEN"]
shown = {name: getattr(settings, name, None) for name in names}
shown["TIMEOUT"] = database["OPTIONS"].get("timeout")
print(json.dumps({**shown, "PASSWORD": database.get("PASSWORD")}))
"""


def start(file=os.devnull, **environment):
    """A process that prints some of its settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    given = {
        **kept,
        "DJANGO_SETTINGS_MODULE": "project.settings",
        "DJANGO_ENV_FILE": str(file),
        "DATABASE_URL": "sqlite://:memory:",
        "WEBHOOKS_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        **environment,
    }
    return processes.run([*PROGRAM, SHOW], cwd=ROOT, env=given, capture_output=True, text=True)


def shown(started):
    assert started.returncode == 0, started.stderr
    return json.loads(started.stdout)


def test_a_value_that_begins_with_a_dollar_is_no_name():
    found = shown(
        start(
            SECRET_KEY=f"${KEY}",
            ALLOWED_HOSTS="$HOME,b.example",
            DEFAULT_FROM_EMAIL=r"$PATH\$x@example.com",
            WEBHOOKS_METRICS_TOKEN="$HOME",
            DATABASE_URL="postgres://u:$HOME$x@h/n",
        )
    )
    assert found["SECRET_KEY"] == f"${KEY}"
    assert found["ALLOWED_HOSTS"] == ["$HOME", "b.example"]
    assert found["DEFAULT_FROM_EMAIL"] == r"$PATH\$x@example.com"
    assert found["WEBHOOKS_METRICS_TOKEN"] == "$HOME"
    assert found["PASSWORD"] == "$HOME$x"


def test_the_time_to_wait_for_sqlite_is_a_number():
    assert shown(start(SECRET_KEY=KEY, DATABASE_URL="sqlite:///x?timeout=0.5"))["TIMEOUT"] == 0.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "sqlite:///x?timeout=planted"),
        ("WEBHOOKS_METRICS_TOKEN", "$planted secret"),
        ("WEBHOOKS_ENCRYPTION_KEYS", "$planted-secret"),
        ("DATABASE_URL", "$planted-secret"),
        ("EMAIL_URL", "smtp://u:planted-secret@h:port"),
        ("WEBHOOKS_PROXY", "$planted-secret"),
        ("HTTPS", "$planted-secret"),
    ],
)
def test_no_secret_stands_in_a_traceback(name, value):
    source = SHOW.replace("import json\n", "import json, django; django.setup()\n", 1)
    started = processes.run(
        [*PROGRAM, source + "\nfrom webhooks_app import conf; conf.validate()"],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_ENV_FILE": os.devnull,
            "SECRET_KEY": KEY,
            "DEBUG": "false",
            name: value,
        },
        capture_output=True,
        text=True,
    )
    assert started.returncode == 1
    assert name in started.stderr.strip().splitlines()[-1]
    assert "planted" not in started.stderr


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_first_line_of_a_file_counts_with_a_byte_order_mark_too(tmp_path, mark):
    file = tmp_path / ".env"
    text = f"{mark}SECRET_KEY=${KEY}\n\n# words\nexport DEFAULT_FROM_EMAIL='a b@example.com'\n"
    file.write_text(text, encoding="utf-8")
    found = shown(start(file))
    assert found["SECRET_KEY"] == f"${KEY}"
    assert found["DEFAULT_FROM_EMAIL"] == "a b@example.com"
    before = file.read_bytes()
    first_run.write_missing(file)
    added = file.read_bytes().removeprefix(before).decode()
    assert "SECRET_KEY" not in added


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"A=1\nSECRET KEY=planted", "line 2 is not of the form NAME=value"),
        (b"planted", "line 1 is not of the form NAME=value"),
        (b"SECRET_KEY=planted\xff", "is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_stops_the_start_and_shows_nothing_of_it(tmp_path, text, said):
    file = tmp_path / "settings.env"
    file.write_bytes(text)
    started = start(file, SECRET_KEY=KEY)
    assert started.returncode == 1
    assert said in started.stderr
    assert "settings.env" in started.stderr.strip().splitlines()[-1]
    assert "planted" not in started.stderr


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("missing/.env", "DJANGO_ENV_FILE names {}, which is not there"),
        ("x" * 400, "{} cannot be read: File name too long"),
        (".", "{} cannot be read: Is a directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_a_sentence(tmp_path, file, said):
    path = tmp_path / file
    for command in (["check"], ["quickstart"]):
        started = processes.run(
            [*processes.MANAGE, *command],
            cwd=ROOT,
            env={**os.environ, "DJANGO_ENV_FILE": str(path), "SECRET_KEY": KEY},
            capture_output=True,
            text=True,
        )
        assert started.returncode == 1
        line, *more = started.stderr.strip().splitlines()
        assert str(path) in line
        assert not more
        if command == ["check"]:
            assert line == f"manage.py: {said.format(path)}"
