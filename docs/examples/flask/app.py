"""A receiver for webhooks. Start it with the signing secret of the webhook:

WEBHOOK_SECRET=whsec_… PORT=3000 python app.py

Without a secret it goes by the token that you entered at the webhook, WEBHOOK_TOKEN=my-token.
"""

import hmac
import os
from collections import OrderedDict

from flask import Flask, Response, abort, jsonify, request
from standardwebhooks import Webhook, WebhookVerificationError

SECRET = os.environ.get("WEBHOOK_SECRET", "")
TOKEN = os.environ.get("WEBHOOK_TOKEN", "")
REMEMBERED = 10_000  # calls

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 1024 * 1024

# The answers to what has been worked on, by webhook-id. In earnest: a table with a unique column,
# written in the same transaction as the work.
done: OrderedDict[str, dict] = OrderedDict()


@app.before_request
def check():
    """The verification and every call are signed, and carry ?token=… (unless it is empty)."""
    if SECRET:
        try:
            # The bytes as they came: JSON that was read and written anew is another text.
            headers = dict(request.headers)
            Webhook(SECRET).verify(request.get_data(), headers, json_parse=False)
        except (WebhookVerificationError, ValueError) as reason:
            abort(401, str(reason))
    elif not hmac.compare_digest(request.args.get("token", "").encode(), TOKEN.encode()):
        abort(401)


@app.get("/webhook")
def verify():
    """Verification: the answer is the challenge, nothing else."""
    return Response(request.args.get("challenge", ""), mimetype="text/plain")


@app.post("/webhook")
def call():
    """A call may come twice, with the same webhook-id: it is worked on once."""
    ident = request.headers.get("webhook-id", "")
    body = request.get_json(force=True)
    if ident in done:
        return jsonify(done[ident])
    answer = work(body)
    if ident:  # only now: what failed is sent again, and must be worked on then
        done[ident] = answer
        if len(done) > REMEMBERED:
            done.popitem(last=False)
    print(f"worked on {ident}", flush=True)
    return jsonify(answer)


def work(body):
    """The first generation of interactions holds `result`, the present one does not; the body of
    a delivery is any JSON: an object, a list, a text, a number, null."""
    if isinstance(body, dict) and "result" in body:
        name = text(body, "result", "parameters", "name") or "you"
        return {
            "responses": [{"type": "text", "elements": [f"Hello {name}"]}],
            "parameters": {"greeted": "yes"},
        }
    name = text(body, "userAttributes", "default_name") or "you"
    return {
        "responses": [{"type": "text", "delay": 1000, "message": f"Hello {name}"}],
        "attributes": {"greeted": "yes"},
    }


def text(value, *path):
    """The text at the end of a path of keys; empty where the body has another shape."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ.get("PORT", "3000")))
