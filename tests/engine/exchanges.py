"""Requests and outcomes in short, for the tests of the sender."""

from webhooks_app.engine.http.sender import Request
from webhooks_app.rules.validators import parse_url


def request(url, body=b"{}", method="POST", *, account=1):
    place = parse_url(url)
    head = (
        f"{method} {place.target} HTTP/1.1\r\nHost: {place.authority}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    return Request(method, place.scheme, place.host, place.port, account, head, body)


def failed(outcome):
    """The failure as one line: its kind and the recorded message."""
    return f"{outcome.failure.kind}: {outcome.failure.message}" if outcome.failure else ""
