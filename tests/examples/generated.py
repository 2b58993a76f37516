"""The client that openapi-python-client makes of /schema, used as its user would: typed models in
and out. Run by test_generated.py, with the client as the package `webhooks_client`."""

import os
import time

from webhooks_client import AuthenticatedClient
from webhooks_client.api.deliveries import deliveries_retrieve
from webhooks_client.api.webhooks import (
    webhooks_create,
    webhooks_deliveries_create,
    webhooks_destroy,
    webhooks_interactions_create,
    webhooks_retrieve,
    webhooks_verify_create,
)
from webhooks_client.models import ErrorEnvelope, InteractionWrite, WebhookWrite

client = AuthenticatedClient(os.environ["SITE"], os.environ["TOKEN"])
with client:
    body = WebhookWrite(name="Generated", url=os.environ["RECEIVER"])
    made = webhooks_create.sync(client=client, body=body)
    assert made.status.code == 200, made
    assert webhooks_verify_create.sync(made.id, client=client).ok
    assert webhooks_retrieve.sync(made.id, client=client).name == "Generated"

    ada = InteractionWrite.from_dict({"userAttributes": {"default_name": "Ada"}})
    answer = webhooks_interactions_create.sync(made.id, client=client, body=ada)
    print(f"answered: {answer.responses[0]['message']}")

    delivery = webhooks_deliveries_create.sync(made.id, client=client, body={"order": 4711})
    until = time.monotonic() + 30
    while (now := deliveries_retrieve.sync(delivery.id, client=client)).state == "pending":
        assert time.monotonic() < until, now
        time.sleep(0.1)
    print(f"delivery: {now.state}")

    nameless = WebhookWrite(name="", url=os.environ["RECEIVER"])
    refused = webhooks_create.sync(client=client, body=nameless)
    assert isinstance(refused, ErrorEnvelope), refused
    assert "name" in refused.status.details.to_dict()

    webhooks_destroy.sync(made.id, client=client)
    assert webhooks_retrieve.sync_detailed(made.id, client=client).status_code == 404
