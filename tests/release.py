"""`make release`: what is in dist/ is whole, and works where nothing else of ours is."""

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from webhooks_app import __version__

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
APP = ROOT / "webhooks_app"
# A host project, its test, and what it does: in an environment that has the wheel alone.
TRIED = """
import webhooks_app
assert "site-packages" in webhooks_app.__file__, webhooks_app.__file__
from django.conf import settings
settings.configure(
    SECRET_KEY="x" * 50, DEBUG=True, USE_TZ=True, STATIC_URL="static/", ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=["webhooks_app", "rest_framework", "django.contrib.admin", "django.contrib.auth",
                    "django.contrib.contenttypes", "django.contrib.sessions",
                    "django.contrib.messages", "django.contrib.staticfiles"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware",
                "django.contrib.messages.middleware.MessageMiddleware"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
                "OPTIONS": {"context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages"]}}],
)
import django
django.setup()
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import include, path
urlpatterns = [path("admin/", admin.site.urls), path("", include("webhooks_app.urls")),
               path("", include("webhooks_app.urls_operations"))]
call_command("migrate", verbosity=0)
from webhooks_app import actions
from webhooks_app.models import Account
from webhooks_app.testing import FakeReceiver, drain
account = Account.objects.create(name="acme")
webhook = actions.create_webhook(account, name="Orders", url="https://example.com/hook")
with FakeReceiver() as receiver:
    actions.deliver(webhook, {"order": 4711})
    assert drain() == 1
assert receiver.requests[-1].headers["user-agent"] == "Webhooks-Console/" + webhooks_app.__version__
browser = Client(headers={"host": "localhost"})
browser.force_login(User.objects.create_superuser("a", "", "b"))
for address in ("/admin/webhooks_app/", f"/admin/webhooks_app/webhook/{webhook.pk}/change/"):
    assert browser.get(address).status_code == 200, address
page = browser.get("/webhooks", headers={"host": "localhost", "accept": "text/html"})
assert b"<!DOCTYPE html>" in page.content
assert browser.get("/readyz").status_code == 200
from django.contrib.staticfiles import finders
assert finders.find("webhooks_app/console.css") and finders.find("webhooks_app/docs.js")
call_command("webhooks", "status", "--json", skip_checks=True)
"""


@pytest.fixture(scope="module")
def wheel():
    [found] = DIST.glob("*.whl")
    return found


def test_the_wheel_holds_the_app_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for path in APP.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted <= names
    others = {name for name in names if not name.startswith("webhooks_app/")}
    assert all(name.startswith(f"webhooks_console-{__version__}.dist-info/") for name in others)
    assert any(name.endswith("LICENSE") for name in others)


def test_its_metadata_are_those_of_the_project(wheel):
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"webhooks_console-{__version__}.dist-info/METADATA").decode()
    said = Parser().parsestr(metadata)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (said["Name"], said["Version"]) == ("webhooks-console", __version__)
    assert said["License-Expression"] == project["license"]
    assert set(said.get_all("Classifier")) == set(project["classifiers"])
    assert set(said.get_all("Provides-Extra")) == set(project["optional-dependencies"])
    assert "# Webhooks" in metadata


def test_the_source_holds_what_builds_it():
    [source] = DIST.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "webhooks_app/__init__.py"} <= names


def test_the_bill_of_materials_names_what_is_locked():
    told = json.loads((DIST / "sbom.cdx.json").read_text())
    assert told["bomFormat"] == "CycloneDX"
    named = {part["name"].lower() for part in told["components"]}
    assert {"django", "djangorestframework", "cryptography", "granian", "psycopg"} <= named


def test_it_works_where_nothing_else_of_ours_is(wheel, tmp_path):
    uv = str(Path(sys.executable).with_name("uv"))
    clean = {name: os.environ[name] for name in os.environ if not name.startswith("DJANGO")}
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, tmp_path / "env"], check=True)
    python = tmp_path / "env/bin/python"
    install = [uv, "pip", "install", "-q", "--python", python, f"{wheel}[metrics]"]
    subprocess.run([*install, "django<6"], check=True, env=clean)
    (tmp_path / "tried.py").write_text(TRIED)
    done = subprocess.run(
        [python, "tried.py"], cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=300
    )
    # `status` ends with 1: no worker is alive there.
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["deliveries"]["due"] == 0
