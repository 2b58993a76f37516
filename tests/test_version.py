"""The number of a release stands in one place, and everybody reads it there."""

import io
import sys
import tomllib
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from django.core.management import execute_from_command_line

import webhooks_app
from webhooks_app.engine.http import message

pytestmark = pytest.mark.once


def test_the_package_reads_it_from_the_code():
    project = tomllib.loads(Path("pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"]["attr"] == "webhooks_app.__version__"


def test_the_schema_and_every_call_say_it(client):
    assert client.get("/schema").json()["info"]["version"] == webhooks_app.__version__
    assert f"Webhooks-Console/{webhooks_app.__version__}" == message.USER_AGENT


def test_the_command_says_its_own_version_not_djangos(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["manage.py"])
    out = io.StringIO()
    with redirect_stdout(out), pytest.raises(SystemExit):
        execute_from_command_line(["manage.py", "webhooks", "--version"])
    assert out.getvalue().strip() == f"webhooks-console {webhooks_app.__version__}"


@pytest.mark.django_db
def test_the_console_says_it_at_the_foot_of_its_pages_to_staff_alone(admin_client, client):
    says = f"Webhooks {webhooks_app.__version__}"
    for page in ("", "webhooks_app/webhook/", "webhooks_app/account/add/"):
        assert says in admin_client.get(f"/admin/{page}").content.decode()
    assert says not in client.get("/admin/", follow=True).content.decode()
