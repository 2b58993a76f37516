import base64
import hashlib
import hmac
import time

import requests
from celery import shared_task
from django.utils import timezone
from requests.adapters import HTTPAdapter

from .models import Delivery

# One session for all threads, so that connections are kept and shared.
session = requests.Session()
session.trust_env = False  # no look for proxies and netrc in front of every request
session.mount("http://", HTTPAdapter(pool_connections=20, pool_maxsize=20))


@shared_task(autoretry_for=(requests.RequestException,), retry_backoff=True, max_retries=8)
def deliver(delivery_id):
    delivery = Delivery.objects.select_related("webhook").get(pk=delivery_id)
    body, now = delivery.payload.encode(), int(time.time())
    signed = f"{delivery_id}.{now}.".encode() + body
    digest = hmac.new(delivery.webhook.secret.encode(), signed, hashlib.sha256).digest()
    response = session.post(
        delivery.webhook.url,
        data=body,
        headers={
            "Content-Type": "application/json",
            "webhook-id": str(delivery_id),
            "webhook-timestamp": str(now),
            "webhook-signature": "v1," + base64.b64encode(digest).decode(),
        },
        timeout=10,
    )
    response.raise_for_status()
    Delivery.objects.filter(pk=delivery_id).update(
        state="delivered", status=response.status_code, delivered_at=timezone.now()
    )
