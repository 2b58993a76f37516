"""The host of a webhook: kept by the database, whoever writes the URL and however."""

import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from tests.factories import AccountFactory, DeliveryFactory, WebhookFactory
from webhooks_app.models import Webhook
from webhooks_app.models.delivery_filters import select
from webhooks_app.rules.hosts import NO_HOST, host_of

URLS = {
    "https://Shop.Example.com/hooks?u=https://other.example/": "shop.example.com",
    "http://shop.example.com:8080?a": "shop.example.com:8080",
    "https://shop.example.com": "shop.example.com",
    "https://[2001:db8::1]:8443/x": "[2001:db8::1]:8443",
    "no address at all": "",
    "https://" + "a" * 2000: "a" * 260,
}


@pytest.fixture
def webhook(db):
    return WebhookFactory(url="https://first.example/")


@pytest.mark.parametrize("url", URLS)
def test_every_way_to_write_a_url_changes_the_host(webhook, url):
    def stored():
        return Webhook.objects.values_list("host", flat=True).get(pk=webhook.pk)

    assert stored() == "first.example"
    webhook.url = url
    webhook.save()
    assert stored() == URLS[url]
    Webhook.objects.filter(pk=webhook.pk).update(url="https://second.example:81/")
    assert stored() == "second.example:81"
    with connection.cursor() as cursor:  # as a process of an older version does
        table = Webhook._meta.db_table
        cursor.execute(f"UPDATE {table} SET url = %s WHERE id = %s", [url, webhook.pk])
    assert stored() == URLS[url]


class TestAnyUrl(TestCase):
    @settings(max_examples=25, deadline=None)
    @given(
        scheme=st.sampled_from(("https://", "http://", "HTTPS://")),
        name=st.from_regex(r"[A-Za-z0-9]{1,12}\.[a-z]{2,6}", fullmatch=True),
        port=st.sampled_from(("", ":80", ":443", ":8443")),
        rest=st.sampled_from(("", "/", "/a?b=c", "?x=://y/", "/://z")),
    )
    def test_is_found_by_the_host_that_a_call_of_it_names(self, scheme, name, port, rest):
        url = scheme + name + port + rest
        assert host_of(url) != NO_HOST
        webhook = WebhookFactory(account=AccountFactory(), url=url)
        assert webhook in Webhook.objects.at_host(host_of(url))


def test_deliveries_are_selected_by_the_host(db):
    ours = WebhookFactory(url="https://blumen-köln.example:443/in")
    theirs = WebhookFactory(url="https://other.example/in")
    delivery, _ = DeliveryFactory(webhook=ours), DeliveryFactory(webhook=theirs)
    for host in ("blumen-köln.example", "xn--blumen-kln-lcb.example", "Blumen-Köln.example"):
        assert list(select({"host": host}, delivery.created_at)) == [delivery]
    with pytest.raises(ValueError, match="host"):
        select({"host": "a/b"}, delivery.created_at)
