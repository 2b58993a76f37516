"""A receiver for webhooks. Start it with the signing secret of the webhook:

WEBHOOK_SECRET=whsec_… PORT=3000 python app.py

Without a secret it goes by the token that you entered at the webhook, WEBHOOK_TOKEN=my-token.
"""

import hmac
import json
import os
from collections import OrderedDict
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse
from standardwebhooks import Webhook, WebhookVerificationError

SECRET = os.environ.get("WEBHOOK_SECRET", "")
TOKEN = os.environ.get("WEBHOOK_TOKEN", "")
REMEMBERED = 10_000  # calls
LARGEST = 1024 * 1024  # bytes

app = FastAPI()

# The answers to what has been worked on, by webhook-id. In earnest: a table with a unique column,
# written in the same transaction as the work.
done: OrderedDict[str, dict] = OrderedDict()


async def checked(request: Request) -> bytes:
    """The body. The verification and every call are signed, and carry ?token=… (unless it is
    empty)."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST:
            raise HTTPException(413)
    if SECRET:
        try:
            # The bytes as they came: JSON that was read and written anew is another text.
            Webhook(SECRET).verify(body, dict(request.headers), json_parse=False)
        except (WebhookVerificationError, ValueError) as reason:
            raise HTTPException(401, str(reason)) from None
    elif not hmac.compare_digest(request.query_params.get("token", "").encode(), TOKEN.encode()):
        raise HTTPException(401)
    return body


Body = Annotated[bytes, Depends(checked)]


@app.get("/webhook", response_class=PlainTextResponse)
async def verify(body: Body, challenge: str = "") -> str:
    """Verification: the answer is the challenge, nothing else."""
    return challenge


@app.post("/webhook")
async def call(request: Request, body: Body) -> dict[str, Any]:
    """A call may come twice, with the same webhook-id: it is worked on once."""
    ident = request.headers.get("webhook-id", "")
    try:
        value = json.loads(body)
    except ValueError:
        raise HTTPException(400, "no JSON") from None
    if ident in done:
        return done[ident]
    answer = work(value)
    if ident:  # only now: what failed is sent again, and must be worked on then
        done[ident] = answer
        if len(done) > REMEMBERED:
            done.popitem(last=False)
    print(f"worked on {ident}", flush=True)
    return answer


def work(body: Any) -> dict[str, Any]:
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


def text(value: Any, *path: str) -> str:
    """The text at the end of a path of keys; empty where the body has another shape."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "3000")))
