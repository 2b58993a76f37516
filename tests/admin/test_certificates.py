"""A receiver's certificate that ends soon is seen before it has ended."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.admin.pages import page, text_of, url
from webhooks_app.models import WebhookHealth


@pytest.mark.parametrize(
    ("days", "words"),
    [(9.5, "certificate ends in 9 days"), (-1, "certificate has ended"), (15, ""), (None, "")],
)
def test_in_the_list_and_on_the_page(viewer, orders, days, words):
    ends = None if days is None else timezone.now() + timedelta(days=days)
    WebhookHealth.objects.update(certificate_ends_at=ends)
    for place in (url("webhook"), page(orders)):
        text = text_of(viewer.get(place))
        assert words in text
        assert ("certificate ends" in text or "certificate has" in text) is bool(words)
