"""A receiver for webhooks. Start it with the token you entered at the webhook:

WEBHOOK_TOKEN=my-token PORT=3000 python app.py
"""

import hmac
import os

from flask import Flask, Response, abort, jsonify, request

TOKEN = os.environ.get("WEBHOOK_TOKEN", "")
app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 1024 * 1024


@app.before_request
def check_token():
    """The token comes as ?token=… with the verification and with every call."""
    if not hmac.compare_digest(request.args.get("token", "").encode(), TOKEN.encode()):
        abort(401)


@app.get("/webhook")
def verify():
    """Verification: the answer is the challenge, nothing else."""
    return Response(request.args.get("challenge", ""), mimetype="text/plain")


@app.post("/webhook")
def call():
    """A call. The first generation of bodies holds `result`, the present one does not."""
    body = request.get_json()
    if not isinstance(body, dict):  # a delivery may be any JSON
        body = {}
    if "result" in body:
        name = body["result"].get("parameters", {}).get("name", "you")
        return jsonify(
            responses=[{"type": "text", "elements": [f"Hello {name}"]}],
            parameters={"greeted": "yes"},
        )
    name = body.get("userAttributes", {}).get("default_name", "you")
    return jsonify(
        responses=[{"type": "text", "delay": 1000, "message": f"Hello {name}"}],
        attributes={"greeted": "yes"},
    )


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ.get("PORT", "3000")))
