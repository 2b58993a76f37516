"""Events of a host project's own models; here the accounts of Django's users stand for them."""

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import transaction
from django.db.models.signals import post_delete, post_save, pre_delete

from webhooks_app import model_events
from webhooks_app.models import Account, Event
from webhooks_app.testing import assert_published

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _undone():
    yield
    for signal in (post_save, pre_delete, post_delete):
        signal.disconnect(sender=Group, dispatch_uid="webhooks shop.order")


def register(whose, **options):
    given = {"payload": lambda group: {"id": group.pk, "name": group.name}}
    given |= {"account": lambda group: whose}
    model_events.register(Group, type="shop.order", **{**given, **options})


def test_what_is_saved_and_deleted_is_published_as_it_was(account):
    register(account)
    group = Group.objects.create(name="a")
    ident = group.pk
    assert_published("shop.order.created", payload={"id": ident, "name": "a"}, times=1)
    group.name = "b"
    group.save()
    assert_published("shop.order.updated", payload={"id": ident, "name": "b"}, times=1)
    group.delete()
    assert_published("shop.order.deleted", payload={"id": ident, "name": "b"}, times=1)


def test_it_commits_with_the_row_or_not_at_all(account):
    register(account)
    with transaction.atomic():
        Group.objects.create(name="a")
        transaction.set_rollback(True)
    assert not Event.objects.exists()


def test_some_events_only_and_nothing_for_nobodys_rows(account):
    register(account, events=["created"])
    group = Group.objects.create(name="a")
    group.save()
    group.delete()
    assert Event.objects.count() == 1
    register(account, account=lambda group: None)
    Group.objects.create(name="b").delete()
    assert Event.objects.count() == 1


def test_a_fixture_publishes_nothing(account, tmp_path):
    register(account)
    file = tmp_path / "groups.json"
    file.write_text('[{"model": "auth.group", "pk": 99, "fields": {"name": "a"}}]')
    call_command("loaddata", str(file), verbosity=0)
    assert Group.objects.filter(pk=99).exists()
    assert not Event.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_outside_of_a_transaction_too_they_are_there_together_or_not_at_all(account):
    register(account, payload=lambda group: object() if group.name == "bad" else 1)
    group = Group.objects.create(name="good")
    with pytest.raises(TypeError):
        Group.objects.create(name="bad")
    group.name = "bad"
    with pytest.raises(TypeError):
        group.save()
    with pytest.raises(TypeError):
        group.delete()
    assert list(Group.objects.filter(name__in=["good", "bad"])) == [Group.objects.get(name="good")]
    assert_published("shop.order.created", times=1)
    assert Event.objects.count() == 1


@pytest.mark.parametrize("options", [{"type": "no good"}, {"events": ["renamed"]}])
def test_what_there_cannot_be_is_refused_at_once(account, options):
    given = {"type": "shop.order", "payload": lambda g: 1, "account": lambda g: account}
    with pytest.raises(ValueError, match=r"."):
        model_events.register(Group, **{**given, **options})


def test_what_goes_wrong_reaches_whoever_saves(account):
    register(account, payload=lambda group: object())
    with pytest.raises(TypeError), transaction.atomic():
        Group.objects.create(name="a")
    assert not Group.objects.filter(name="a").exists()
    assert Account.objects.count() == 1
