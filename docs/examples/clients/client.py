"""Register a webhook, verify it, call it, send it a delivery. Standard library only.

SITE=http://127.0.0.1:8000 TOKEN=whk_… RECEIVER=http://127.0.0.1:8001/any python client.py
"""

import json
import os
import time
import uuid
from urllib.error import HTTPError
from urllib.request import Request, urlopen

SITE, TOKEN = os.environ["SITE"], os.environ["TOKEN"]


def call(method, path, body=None, **headers):
    """What the API answers; an error ends the program with its own words."""
    sent = None if body is None else json.dumps(body).encode()
    headers |= {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    try:
        with urlopen(Request(SITE + path, sent, headers, method=method), timeout=60) as answer:
            return json.load(answer)
    except HTTPError as error:
        raise SystemExit(json.load(error)["status"]["message"]) from error


made = call("POST", "/webhooks", {"name": "Python", "url": os.environ["RECEIVER"]})
webhook = f"/webhooks/{made['id']}"
print("verified:", call("POST", f"{webhook}/verify")["ok"])
answer = call("POST", f"{webhook}/interactions", {"userAttributes": {"default_name": "Ada"}})
print("answered:", answer["responses"][0]["message"])

# With a key of your own a request may be sent again after a broken connection: one delivery.
key = {"Idempotency-Key": str(uuid.uuid4())}
for _ in range(2):
    delivery = call("POST", f"{webhook}/deliveries?type=order.created", {"order": 4711}, **key)
while delivery["state"] == "pending":
    time.sleep(0.2)
    delivery = call("GET", f"/deliveries/{delivery['id']}")
print("delivery:", delivery["state"])
call("DELETE", webhook)
