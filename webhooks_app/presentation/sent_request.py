"""A request as it was sent, rebuilt by the engine's own hand with every secret masked."""

import shlex
from dataclasses import dataclass
from datetime import datetime

from ..engine.http import message
from ..models import Delivery, SigningKey, Webhook
from ..rules import oauth, signing
from ..rules.validators import MASK

_STAND_IN = "masked-by-the-console"  # what the engine is given in place of each secret
_KEY = SigningKey(secret=signing.secret_of(_STAND_IN.ljust(32).encode()))


@dataclass(frozen=True, slots=True)
class Sent:
    """`headers` in the order sent. `problem`: why no request can be made of the webhook now."""

    url: str
    headers: list[tuple[str, str]]
    problem: str = ""
    identified: bool = False  # a client certificate is shown

    def curl(self, body: str) -> str:
        """The same call for a shell; whoever pastes it fills the dots in."""
        ours = {"host", "content-length", "accept-encoding"}
        lines = [f"curl --request POST {shlex.quote(self.url)}"]
        lines += [
            f"--header {shlex.quote(f'{name}: {value}')}"
            for name, value in self.headers
            if name.lower() not in ours
        ]
        if self.identified:
            lines.append("--cert client.pem")
        lines.append(f"--data-binary {shlex.quote(body)}")
        return " \\\n  ".join(lines)


def _oauth(url: str) -> dict[str, str]:
    return {"tokenUrl": url, "clientId": _STAND_IN, "clientSecret": _STAND_IN}


def sent(
    delivery: Delivery,
    *,
    url: str,
    at: datetime,
    size: int,
    content_type: str = "",
    token_set: bool,
    oauth_set: bool = False,
    identity_set: bool = False,
    header_names: list[str],
) -> Sent:
    """The request of an attempt to `url` at a moment, with what the webhook adds to it now.

    `content_type`: of the form of an event, `""` for JSON.
    """
    webhook = delivery.webhook
    masked = Webhook(
        url=url,
        token=_STAND_IN if token_set else "",
        auth_username=_STAND_IN if webhook.auth_username else "",
        auth_password=_STAND_IN,
        signature_prefix=webhook.signature_prefix,
        oauth=oauth.stored(_oauth(url)) if oauth_set else "",
    )
    try:
        head = message.head(masked, [(name, _STAND_IN) for name in header_names], [_KEY])
    except message.Unsendable as error:
        return Sent(url, [], error.failure.message)
    event = None
    if delivery.event_id is not None:
        event = message.event_lines(delivery.event_id, delivery.type, content_type)
    sequence = None if delivery.sequence is None else (delivery.sequence, delivery.previous)
    request = message.post(
        head,
        request_id=delivery.pk,
        now=at.timestamp(),
        body=b"",
        event=event,
        sequence=sequence,
    )
    if request.access is not None:
        request = request.bearing(_STAND_IN)
    start, *lines = request.head.decode("utf-8").rstrip("\r\n").split("\r\n")
    headers = []
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "Authorization" and webhook.auth_username:
            value = f"Basic {MASK}"
        elif name == "Content-Length":
            value = str(size)
        elif name in {prefix + "signature" for prefix in head.prefixes}:
            value = f"{signing.VERSION},{MASK}"
        headers.append((name, value.replace(_STAND_IN, MASK)))
    target = start.split(" ")[1].replace(_STAND_IN, MASK)
    return Sent(
        f"{request.scheme}://{head.endpoint.authority}{target}", headers, identified=identity_set
    )
