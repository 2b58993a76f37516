"""The app in a database of its own, the users in another: nothing joins the two."""

import pytest

from tests.embedding.host import Host

pytestmark = pytest.mark.once

SETTINGS = """
DATABASES = {"default": sqlite("default.sqlite3"), "hooks": sqlite("hooks.sqlite3")}
DATABASE_ROUTERS = ["routers.Apart"]
"""
ROUTER = """
class Apart:
    def db_for_read(self, model, **hints):
        return "hooks" if model._meta.app_label == "webhooks_app" else "default"

    db_for_write = db_for_read

    def allow_relation(self, obj1, obj2, **hints):
        return True

    def allow_migrate(self, db, app_label, **hints):
        return (db == "hooks") == (app_label == "webhooks_app")
"""


def test_an_account_has_members_who_act_for_it_and_can_be_deleted(tmp_path):
    host = Host(tmp_path, SETTINGS, {"routers.py": ROUTER})
    host.python(
        """
from django.core.management import call_command
for alias in ("default", "hooks"):
    call_command("migrate", verbosity=0, database=alias)
ops = User.objects.create_superuser("ops", "ops@example.org", "x")
ann, bob = (User.objects.create_user(name, is_staff=True) for name in ("ann", "bob"))
from django.contrib.auth.models import Permission
account = Account.objects.create(name="acme")
webhook = actions.create_webhook(account, name="w", url="https://receiver.example.com/")
console = Client()
console.force_login(ops)
page = f"/admin/webhooks_app/account/{account.pk}/change/"
assert console.get(page).status_code == 200
for members in ([ann, bob], [ann, bob], [bob], [ann, bob]):
    sent = {"name": "acme", "contact_email": "", "members": ",".join(str(u.pk) for u in members)}
    answer = console.post(page, sent)
    assert answer.status_code == 302, answer.content
    shown = console.get(page).content.decode()
    rows = Account.members.through.objects.using("hooks").values_list("user_id", flat=True)
    assert sorted(rows) == sorted(user.pk for user in members)
    assert f'value="{sent["members"]}"' in shown
for name in ("webhook", "delivery", "accesstoken", "auditentry"):
    assert console.get(f"/admin/webhooks_app/{name}/").status_code == 200, name

bob.user_permissions.add(Permission.objects.get(codename="view_webhook"))
member = Client(headers={"accept": "application/json"})
member.force_login(bob)
assert [row["id"] for row in member.get("/webhooks").json()] == [webhook.pk]
assert member.get("/webhooks?account=acme").status_code == 200

ann.delete()
assert User.objects.filter(username="bob").delete()[0] >= 1
assert console.post(f"/admin/auth/user/{ops.pk}/delete/", {"post": "yes"}).status_code == 302
assert not User.objects.exists()
assert not Account.members.through.objects.using("hooks").exists()
"""
    )


@pytest.mark.django_db
def test_with_one_database_a_user_takes_his_memberships_along(account):
    from tests.factories import UserFactory

    user, other = UserFactory(), UserFactory()
    account.members.add(user, other)
    user.delete()
    assert [member.pk for member in account.members.all()] == [other.pk]
    assert account.members.through.objects.count() == 1
