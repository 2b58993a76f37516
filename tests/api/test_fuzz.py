"""Every operation under requests that nobody sends on purpose: never a server error.

Built from a seeded generator, so that a failure names a request that can be made again.
`make prove` sends 1,200 to each operation, 20,000 and more in all; every run a few.
"""

import json
import random

import pytest
from django.test import Client

from tests.factories import AttemptFactory, DeliveryFactory, WebhookFactory
from tests.security.test_tenancy import OPERATIONS, name
from webhooks_app import actions
from webhooks_app.models import AccessToken, Webhook

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

FEW, MANY = 15, 1200

TEXTS = [
    *("", " ", "x", "\0", "\n", "\r\nX: y", "é", "𝒳" * 50, "\u202e", "\ufeff", "null", "None"),
    *("' OR 1=1 --", "%00", "%s%n", "{{7*7}}", "${x}", "<script>", "../../etc", "a" * 5000),
    *("١٢٣", "ﬀ", "ı", "\ud800", "0" * 400, "-0", "1e999", "NaN", "true", "[]", "{}", "••••••••"),
]
NUMBERS = [0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.1, -0.0, 1e308, 5e-324]
URLS = [
    *(
        "https://receiver.example.com/",
        "http://",
        "https://a@b/",
        "https://[::1]/",
        "https://é.example/",
    ),
    *(
        "http://127.0.0.1\\@example.com/",
        "https://example.com:65536/",
        "https://" + "a" * 3000,
        "//x",
    ),
    *(
        "javascript:x",
        "https://xn--a/",
        "https://1.1.1.1%00/",
        "https://example.com/\ud800",
        "file:///",
    ),
]
IDS = [*TEXTS, "0" * 24, "A" * 24, "g" * 24, "%2e%2e", "1" * 3000]
NAMES = [
    *(
        "name",
        "url",
        "token",
        "headers",
        "auth",
        "username",
        "password",
        "value",
        "enabled",
        "note",
    ),
    *("timeout", "maxInFlight", "since", "attributes", "userAttributes", "node", "result", "id"),
    *("deliveries", "payload", "idempotencyKey", "dueAt", "reference", "type"),
    *("key", "gracePeriodSeconds", "signature", "prefix", "algorithm"),
    *("rateLimit", "retrySchedule", "breaker", "after", "off"),
    *("error", "sessionId", "messageId", "timestamp", "status", "__proto__", "", "\0", "webhook"),
]
QUERY = [
    *(
        "limit",
        "after",
        "search",
        "failing",
        "state",
        "since",
        "until",
        "type",
        "reference",
        "dueAt",
    ),
    *("kind", "exchange", "account", "format", "token", "_method", "page", "\0", "é"),
]
BODIES = [
    b"",
    b"\xff\xfe\x00",
    b"\x00" * 100,
    b"\xef\xbb\xbf{}",
    '{"name": "x"}'.encode("utf-16"),
    '{"name": "x"}'.encode("utf-32"),
    b"[" * 100_000,
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b'{"name":"a","name":"b"}',
    b'{"name": "\\ud800"}',
    b'{"name": "\\u0000"}',
    b'{"name": NaN}',
    b'{"name": 1e999}',
    b'{"name": ' + b"9" * 5000 + b"}",
    b'{"name": "\xc3\x28"}',
    b"{" + b'"a":1,' * 20_000 + b'"b":1}',
    b'"' + b"x" * (1024 * 1024) + b'"',
    b"{}garbage",
    b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--x--",
    b"a=b&c=d",
    b"<x/>",
]
TYPES = [
    *("application/json", "application/json; charset=utf-16", "application/json; charset=\xff"),
    *("text/plain", "multipart/form-data; boundary=x", "multipart/form-data; boundary=\xff", ""),
    *("application/x-www-form-urlencoded", "application/json;;;=", "a" * 3000, "\0/\0"),
]
HEADERS = {
    "HTTP_ACCEPT": ["*/*", "text/html", "text/html;q=x", "\xff", "a/b;q=9", "," * 2000],
    "HTTP_IDEMPOTENCY_KEY": ["k", "\xff", "\0", "x" * 300, ""],
    "HTTP_X_FORWARDED_FOR": ["1.2.3.4", "\xff", "," * 500, "::1%eth0", "[", "x" * 3000],
    "HTTP_CONTENT_ENCODING": ["gzip", "identity", "br, gzip", "\xff"],
    "HTTP_TRANSFER_ENCODING": ["chunked", "x", "chunked, chunked"],
    "HTTP_COOKIE": ["sessionid=\xff", "csrftoken=" + "x" * 4000, ";;;=", "sessionid=" + "a" * 32],
    "HTTP_X_HTTP_METHOD_OVERRIDE": ["DELETE", "x"],
    "HTTP_RANGE": ["bytes=0-0", "x"],
    "HTTP_EXPECT": ["100-continue", "x"],
    "CONTENT_LENGTH": ["-1", "x", "99999999999", "0", "1"],
    "HTTP_HOST": ["evil.example.com", "\xff", "a b", "testserver:99999"],
    "REMOTE_ADDR": ["", "x", "::1", "\xff"],
}
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "FOO", "post"]


class Requests:
    """Requests to one operation; most of each is right, for a request wrong in all stops early."""

    def __init__(self, operation, ids, secrets, seed):
        self.method, self.path, self.view = operation
        self.ids, self.secrets = ids, secrets
        self.dice = random.Random(seed)

    def odd(self, share):
        return self.dice.random() < share

    def value(self, depth=0):
        pick = self.dice.randrange(9 if depth < 3 else 6)
        if pick < 2:
            return self.dice.choice(TEXTS)
        if pick == 2:
            return self.dice.choice(NUMBERS)
        if pick == 3:
            return self.dice.choice(URLS)
        if pick == 4:
            return self.dice.choice([None, True, False, [], {}])
        if pick == 5:
            return "".join(chr(self.dice.randrange(0x3000)) for _ in range(self.dice.randrange(20)))
        if pick == 6:
            return [self.value(depth + 1) for _ in range(self.dice.choice([0, 1, 3, 120]))]
        return {self.dice.choice(NAMES): self.value(depth + 1) for _ in range(4)}

    def body(self):
        if self.odd(0.25):
            return self.dice.choice(BODIES)
        sent = json.loads(json.dumps(self.view.example))
        if isinstance(sent, dict):
            for _ in range(self.dice.randrange(4)):
                sent[self.dice.choice(NAMES)] = self.value()
        if self.odd(0.1):
            sent = self.value()
        raw = json.dumps(sent, ensure_ascii=self.odd(0.5)).encode("utf-8", "surrogatepass")
        if self.odd(0.1):
            place = self.dice.randrange(len(raw) + 1)
            raw = (
                raw[:place]
                + bytes([self.dice.randrange(256)])
                + raw[place + self.dice.randrange(2) :]
            )
        return raw

    def build(self):
        """(method, path, body, content type, headers)"""
        method = self.dice.choice(METHODS) if self.odd(0.1) else self.method
        ident = self.dice.choice(IDS) if self.odd(0.15) else self.ids[self.view.target]
        path = self.path.replace("{id}", ident.encode("utf-8", "replace").decode())
        if self.odd(0.4):
            pairs = [
                f"{self.dice.choice(QUERY)}={self.dice.choice([*TEXTS, *self.ids.values()])}"
                for _ in range(self.dice.choice([1, 2, 1200]))
            ]
            path += "?" + "&".join(pairs)
        path = path.encode("utf-8", "replace").decode("latin-1")
        headers = {}
        for field in self.dice.sample(sorted(HEADERS), self.dice.choice([0, 0, 1, 3])):
            headers[field] = self.dice.choice(HEADERS[field])
        secret = self.dice.choice(self.secrets)
        if secret:
            headers["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
        if self.odd(0.05):
            headers["HTTP_AUTHORIZATION"] = self.dice.choice([*TEXTS, "Bearer \xff", "Bearer  "])
        kind = self.dice.choice(TYPES) if self.odd(0.15) else "application/json"
        if path.count("&") > 999:
            kind = "application/json"  # any other fails before Django answers: see test_deployment
        body = self.body() if method not in ("GET", "HEAD") or self.odd(0.05) else b""
        return method, path, body, kind, headers


@pytest.fixture
def secrets(account):
    scopes = ("manage", "manage", "manage", "read", "send")
    return [*(AccessToken.issue(account, scope=scope)[1] for scope in scopes), ""]


@pytest.fixture
def ids(account, settings):
    """One of everything; paused, and at an address that is refused, so that nothing goes out."""
    settings.WEBHOOKS_FAILED_AUTHENTICATIONS = 0
    webhook = WebhookFactory(
        account=account,
        stopped="paused",
        url="http://127.0.0.1:9/",
        token="t",
        headers=[("X", "y")],
    )
    delivery = DeliveryFactory(webhook=webhook)
    AttemptFactory(webhook=webhook, delivery=delivery, kind="reset", message="socket hang up")
    event = actions.publish(account, "order.created", {"order": 4711})
    actions.declare_event_type(account, event.type)
    return {
        "webhook": webhook.pk,
        "delivery": delivery.pk,
        "event": event.pk,
        "event_type": event.type,
    }


@pytest.mark.parametrize(
    "count", [FEW, pytest.param(MANY, marks=[pytest.mark.prove, pytest.mark.timeout(900)])]
)
@pytest.mark.parametrize("operation", OPERATIONS, ids=map(name, OPERATIONS))
def test_no_request_is_a_server_error(operation, count, ids, secrets):
    client = Client(raise_request_exception=False)
    requests = Requests(operation, ids, secrets, name(operation))
    for number in range(count):
        method, path, body, kind, headers = requests.build()
        response = client.generic(method, path, body, content_type=kind, **headers)
        shown = (number, method, path[:300], body[:300], kind[:100], headers)
        assert response.status_code < 500, shown
        if response.status_code >= 400 and method != "HEAD":
            if_json = response["Content-Type"] == "application/json"
            assert not if_json or response.json()["status"]["code"] == response.status_code, shown
        # What it deleted or sent elsewhere is put back for the next one.
        Webhook.objects.filter(pk=ids["webhook"]).update(
            deleted_at=None, stopped="paused", url="http://127.0.0.1:9/"
        )
