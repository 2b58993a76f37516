"""`fill.py URL COUNT`: 100 webhooks, and orders until COUNT deliveries are queued."""

import sys

import django
import worker  # noqa: F401  # before django-webhook's tasks, which take the current Celery app

django.setup()

from django_webhook.models import Webhook, WebhookSecret, WebhookTopic
from orders.models import Order

url, count = sys.argv[1], int(sys.argv[2])
topic, _ = WebhookTopic.objects.get_or_create(name="orders.Order/create")
for _ in range(100):
    webhook = Webhook.objects.create(url=url)
    webhook.topics.add(topic)
    WebhookSecret.objects.create(webhook=webhook, token="a secret of the benchmark")
for _ in range(count // 100):
    Order.objects.create(order="x" * 1000)
