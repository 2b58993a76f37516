"""User models as hosts have them: a number for a name, no name at all, a UUID for a key."""

import pytest

from tests.embedding.host import Host
from webhooks_app.models import Actor

pytestmark = pytest.mark.once

PEOPLE = """
import uuid
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models


class Person(AbstractBaseUser, PermissionsMixin):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    number = models.BigIntegerField(unique=True)
    is_staff = models.BooleanField(default=True)
    is_active = models.BooleanField(default=True)
    objects = BaseUserManager()
    USERNAME_FIELD = "number"
"""


def test_a_user_whose_name_is_a_number_works_in_the_console_and_in_a_session(tmp_path):
    host = Host(
        tmp_path,
        'INSTALLED_APPS.append("people")\nAUTH_USER_MODEL = "people.Person"\n',
        {
            "people/__init__.py": "",
            "people/models.py": PEOPLE,
            "people/migrations/__init__.py": "",
        },
    )
    out = host.python(
        """
from django.core.management import call_command
call_command("makemigrations", "people", verbosity=0)
call_command("migrate", verbosity=0)
user = User.objects.create(number=4711, is_superuser=True)
account = Account.objects.create(name="acme")
webhook = actions.create_webhook(account, name="w", url="https://receiver.example.com/")
browser = Client(headers={"accept": "application/json"})
browser.force_login(user)
page = f"/admin/webhooks_app/webhook/{webhook.pk}"
print(browser.get(f"{page}/change/").status_code)
print(browser.post(f"{page}/pause/", {"note": "later"}).status_code)
print(browser.post("/admin/webhooks_app/account/add/", {"name": "other"}).status_code)
body = {"name": "x", "url": "https://receiver.example.com/"}
made = browser.post("/webhooks?account=acme", body, content_type="application/json")
print(made.status_code, made.content if made.status_code != 200 else "")
patched = browser.patch(f"/webhooks/{webhook.pk}/settings", {"enabled": True},
                        content_type="application/json")
print(patched.status_code)
for entry in AuditEntry.objects.order_by("id"):
    print(entry.by, entry.door, entry.did)
"""
    )
    codes, entries = out.splitlines()[:5], out.splitlines()[5:]
    assert [line.strip() for line in codes] == ["200", "302", "302", "200", "200"]
    assert entries == [
        "4711 admin Paused: later",
        "4711 admin Created",
        "4711 api Created",
        "4711 api Resumed",
    ]


class Named:
    pk = "0c7b"

    def __init__(self, name):
        self.name = name

    def get_username(self):
        return self.name


@pytest.mark.parametrize(
    ("name", "noted"),
    [
        (7, "7"),
        (0, "0"),
        (None, "user 0c7b"),
        ("", "user 0c7b"),
        (" ", "user 0c7b"),
        ("n" * 400, "n" * 150),
        ("a\0b", "a\ufffdb"),
    ],
)
def test_whoever_has_an_odd_name_is_noted_all_the_same(name, noted):
    assert Actor.of(Named(name), "admin") == noted
