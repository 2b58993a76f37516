"""A receiver in Django, with the receiver kit. Start it with the signing secret of the webhook:

WEBHOOK_SECRET=whsec_… PORT=3000 python app.py

Without a secret it goes by the token that you entered at the webhook, WEBHOOK_TOKEN=my-token. Of a
project of your own only the view and its path are needed: the kit answers the verification, judges
each call, limits its body and answers repeats.
"""

import json
import os
import secrets
from wsgiref.simple_server import make_server

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponseBadRequest, JsonResponse
from django.urls import path

settings.configure(
    SECRET_KEY=secrets.token_urlsafe(50), ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF=__name__
)
django.setup()

from webhooks_app.receiving import receiver  # noqa: E402  (it needs the settings)

SECRET = os.environ.get("WEBHOOK_SECRET", "")
TOKEN = os.environ.get("WEBHOOK_TOKEN", "")


@receiver(secret=SECRET, token=TOKEN)
def webhook(request):
    """A delivery is any JSON. In earnest: note `request.webhook.id` in a table with a unique
    column, in the same transaction as the work."""
    try:
        body = json.loads(request.body)
    except ValueError:
        return HttpResponseBadRequest("the body is no JSON")
    print(f"worked on {request.webhook.id}", flush=True)
    if isinstance(body, dict) and "result" in body:  # an interaction of the first generation
        name = text(body, "result", "parameters", "name") or "you"
        answer = {"responses": [{"type": "text", "elements": [f"Hello {name}"]}]}
        return JsonResponse({**answer, "parameters": {"greeted": "yes"}})
    name = text(body, "userAttributes", "default_name") or "you"
    answer = {"responses": [{"type": "text", "delay": 1000, "message": f"Hello {name}"}]}
    return JsonResponse({**answer, "attributes": {"greeted": "yes"}})


def text(value, *path):
    """The text at the end of a path of keys; empty where the body has another shape."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


urlpatterns = [path("webhook", webhook)]

if __name__ == "__main__":
    with make_server(
        "127.0.0.1", int(os.environ.get("PORT", "3000")), get_wsgi_application()
    ) as server:
        print(f"listening on http://127.0.0.1:{server.server_port}/webhook", flush=True)
        server.serve_forever()
