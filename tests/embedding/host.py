"""A Django project of somebody else, that has the app among its own: in a folder, run by processes
of its own."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.plugin import KEY

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
SECRET_KEY = "tests only " + "t" * 50
DEBUG = False
ALLOWED_HOSTS = ["testserver"]
USE_TZ = True
ROOT_URLCONF = "host_urls"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
WEBHOOKS_ENCRYPTION_KEYS = "{key}"
INSTALLED_APPS = [
    "webhooks_app", "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
    "django.contrib.sessions", "django.contrib.messages", "rest_framework",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {{"context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]}},
}}]


def sqlite(name):
    return {{
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": "{folder}/" + name,
        "OPTIONS": {{
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
        }},
    }}


DATABASES = {{"default": sqlite("default.sqlite3")}}
"""
URLS = """
from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls), path("", include("webhooks_app.urls"))]
"""


class Host:
    """`settings` goes to the end of its settings, `files` beside them."""

    def __init__(self, folder: Path, settings: str = "", files: dict[str, str] | None = None):
        self.folder = folder
        written = {
            "host_settings.py": SETTINGS.format(key=KEY, folder=folder) + settings,
            "host_urls.py": URLS,
            **(files or {}),
        }
        for name, text in written.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

    def run(self, *arguments: str, code: int = 0, data: str | None = None) -> str:
        """What a process of the project prints; it must end with this exit code."""
        return self._run(arguments, code, data).stdout

    def _run(
        self, arguments: Sequence[str], code: int, data: str | None
    ) -> "subprocess.CompletedProcess[str]":
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("WEBHOOKS_")
        }
        environment |= {
            "DJANGO_SETTINGS_MODULE": "host_settings",
            "PYTHONPATH": f"{self.folder}{os.pathsep}{ROOT}",
        }
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=environment,
            input=data,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def manage(self, *arguments: str, **more) -> str:
        return self.run("-m", "django", *arguments, **more)

    def refused(self, *arguments: str, code: int = 1) -> str:
        """What a command that cannot go on says on standard error."""
        return self._run(("-m", "django", *arguments), code, None).stderr

    def python(self, program: str) -> str:
        """Runs a program in the project, its models at hand."""
        return self.run("-c", PRELUDE + program)


PRELUDE = """
import django
django.setup()
from datetime import timedelta
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone
from webhooks_app import actions, models
from webhooks_app.models import *
User = get_user_model()
"""
