"""`fill.py URL COUNT`: 100 webhooks, COUNT rows, and a task for each."""

import sys

import django
import worker  # noqa: F401  # the Celery app, before its tasks

django.setup()

from orders.models import Delivery, Webhook
from orders.tasks import deliver

url, count = sys.argv[1], int(sys.argv[2])
webhooks = [Webhook.objects.create(url=url, secret="a secret") for _ in range(100)]
payload = '{"order": "' + "x" * 1011 + '"}'
rows = Delivery.objects.bulk_create(
    Delivery(webhook=webhooks[number % 100], payload=payload) for number in range(count)
)
for row in rows:
    deliver.delay(row.pk)
