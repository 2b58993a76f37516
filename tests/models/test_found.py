"""Of which querysets there is a row, asked in one question."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.factories import WebhookFactory
from webhooks_app.models import Webhook
from webhooks_app.models.compiled_query import Found

pytestmark = pytest.mark.django_db


def test_each_question_is_answered_for_its_own_moments(django_assert_num_queries):
    now, hour = timezone.now(), timedelta(hours=1)
    WebhookFactory(stopped="paused", stopped_at=now, deleted_at=None)
    WebhookFactory(deleted_at=now - 2 * hour)
    stopped = Webhook.objects.exclude(stopped="")
    found = Found(
        lambda since, until: [
            stopped.filter(stopped_at__gte=since),
            Webhook.objects.filter(deleted_at__gte=since, deleted_at__lte=until),
            stopped.filter(stopped_at__lte=until),
        ]
    )
    with django_assert_num_queries(4):
        assert found("default", now - hour, now + hour) == [True, False, True]
        assert found("default", now - 3 * hour, now + hour) == [True, True, True]
        assert found("default", now + hour, now + 2 * hour) == [False, False, True]
        assert found("default", now - hour, now - hour / 2) == [True, False, False]
