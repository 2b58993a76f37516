"""`fill.py URL COUNT`: 100 endpoints, and events until COUNT deliveries are owed."""

import base64
import sys

import django

django.setup()

from django.db import transaction
from django_domain_events import fire
from django_outbound_webhooks import register_endpoint
from orders.events import OrderPlaced

url, count = sys.argv[1], int(sys.argv[2])
secret = base64.b64encode(b"a secret of the benchmark, 32 by").decode()
name = "orders.OrderPlaced"
for number in range(100):
    register_endpoint(name=str(number), url=url, secret=secret, event_names=[name])
for _ in range(count // 100):
    with transaction.atomic():
        fire(OrderPlaced(order="x" * 1000))
