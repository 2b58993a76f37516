"""The table of the readers of outside text: every parser, pattern, normaliser, masker and formatter
of ours that meets what a client, a receiver, a person at the console, a command line or a file
says. A regular expression outside of `modules` of these rows is refused by a test."""

import asyncio
import atexit
import re
from contextlib import suppress
from types import SimpleNamespace

from django.http import QueryDict
from django.utils import timezone
from django.utils.datastructures import MultiValueDict

from project import door_requests, first_run, log_in
from project import errors as site_errors
from project.serving import TokenHandler
from tests.security.outside import Reader
from webhooks_app import conf, limits, receiving, request_ids
from webhooks_app.admin import deliveries, jobs, search, secret_fields
from webhooks_app.admin.filters import is_place
from webhooks_app.api import (
    authentication,
    body,
    fields,
    intake,
    intake_events,
    masks,
    query,
    rendering,
    throttling,
)
from webhooks_app.engine import attempt_rows, calls, metrics_port
from webhooks_app.engine.http import message, sender
from webhooks_app.engine.http.connection import Connection
from webhooks_app.management import terminal
from webhooks_app.models import Account, Attempt, Delivery, Webhook, delivery_filters
from webhooks_app.models.account import digest
from webhooks_app.presentation import formatting, sent_request
from webhooks_app.rules import (
    certificates,
    client_address,
    filters,
    fingerprint,
    guard,
    hosts,
    ids,
    nearest,
    oauth,
    rates,
    responses,
    safe_text,
    schedules,
    server_hello,
    signing,
    strictjson,
    subscriptions,
    validators,
)

RULES = {"allowed": (), "require_https": False}
NOW = timezone.now()
WEBHOOK = Webhook()


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def meta(**given: str) -> SimpleNamespace:
    """A request with these headers, made without Django's own reading of them."""
    values = SimpleNamespace(META=given, GET=QueryDict(), path_info="/webhooks", method="GET")
    values._request = values
    return values


def asked(name: str):
    """A reader of query parameters, given a request with this one."""

    def read(reader, *more):
        def with_text(text: str):
            request = SimpleNamespace(
                query_params={name: text}, META={"QUERY_STRING": text}, GET={name: text}
            )
            return reader(request, name, *more)

        return with_text

    return read


def scope(**headers: bytes) -> dict:
    pairs = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    return {"type": "http", "path": "/", "raw_path": b"/", "query_string": b"", "headers": pairs}


def webhook(text: str) -> dict:
    headers = [(text, text), ("X-A", text)] * 20
    return validators.webhook_errors(
        name=text, url=text, token=text, headers=headers, username=text, password=text, **RULES
    )


PEM = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"
PEM_KEY = "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n"


def oauth_errors(text: str) -> object:
    params = {f"{text}{number}": text for number in range(oauth.PARAMS_LIMIT)}
    given = dict.fromkeys(("tokenUrl", "clientId", "clientSecret", "authMethod"), text)
    scopes = [text] * oauth.SCOPES_LIMIT
    return oauth.errors({**given, "scopes": scopes, "extraParams": params, text: 1}, **RULES)


def alike_found(text: str) -> object:
    """As the list of errors looks for messages like one of them."""
    cut = text[: fingerprint.LIMIT]
    return re.search(fingerprint.pattern(fingerprint.blanked(cut)), f"{cut}!")


def masked(text: str) -> object:
    """What is kept of an answer, of a webhook with as many and as long headers as there can be."""
    words = text[: 99 * validators.HEADER_VALUE_LIMIT]
    step = validators.HEADER_VALUE_LIMIT
    secrets = tuple(words[at : at + step] for at in range(0, len(words), step))
    body = raw(text)[: sender.ANSWER_LIMIT]
    headers = [(b"Server", body), (b"Location", body)]
    outcome = sender.Outcome(NOW, body=body, raw_headers=headers, secrets=secrets)
    return attempt_rows._kept(outcome, headers=True)


def signed(
    ident: str = "i", timestamp: str = "1", signatures: str = "v1,a", body: str = ""
) -> None:
    given = {"ident": ident, "timestamp": timestamp, "signatures": signatures, "body": raw(body)}
    with suppress(signing.Refused):
        signing.check([b"k" * 24], now=1, **given)  # type: ignore[arg-type]


RECORD = "\x16\3\3\x40\0"  # how one of a TLS handshake begins


def said_first(text: str) -> None:
    hello = server_hello.ServerHello()
    with suppress(server_hello.Refused, server_hello.Endless):
        for at in range(0, len(text), 1024):
            hello.pass_on(raw(text[at : at + 1024]))


FILTER = filters.compile_filter(
    {
        "$or": [
            *({"$in": "aa" * n + "b"} for n in range(20)),
            {"$startsWith": ["x" * n for n in range(1, 40)]},
            {"a": {"b": [{"c": 1}, "x"]}, "$gt": "aaaa"},
        ]
    }
)


def filtered(payload: object) -> None:
    with suppress(filters.TooCostly):
        FILTER.matches(payload, filters.Budget())


SENDERS = [
    Reader("webhook-id", lambda t: signed(ident=t), modules=("webhooks_app.rules.signing",)),
    Reader("webhook-timestamp", lambda t: signed(timestamp=t)),
    Reader("webhook-signature", lambda t: signed(signatures=t), ("{}", "v1,{}", "v1,a {}")),
    Reader("a signed body", lambda t: signed(body=t)),
    Reader("a signing secret", signing.key_of, ("{}", "whsec_{}")),
    Reader(
        "a challenge that a receiver is sent",
        lambda t: receiving._challenge(SimpleNamespace(GET={"challenge": t})),  # type: ignore[arg-type]
        modules=("webhooks_app.receiving",),
    ),
]
CLIENTS = [
    Reader(
        "the header Authorization",
        authentication.bearer,
        ("{}", "Bearer {}", "bearer x{}", "Bear{}"),
    ),
    Reader(
        "which requests go by token",
        lambda t: TokenHandler.serves(meta(HTTP_AUTHORIZATION=t)),  # type: ignore[arg-type]
        ("Bearer {}",),
    ),
    Reader("the digest of a token", digest),
    Reader("the name of a request", request_ids.chosen),
    Reader(
        "a request to the port of metrics",
        lambda t: metrics_port.Door().respond(raw(t), "127.0.0.1"),
        ("{}", "GET /metrics HTTP/1.1\r\n{}\r\n\r\n", "GET /{}"),
    ),
    Reader(
        "the address of a client",
        lambda t: client_address.client_address(t, t, 1),
        ("{}", "[{}]:1"),
    ),
    Reader("the chain of proxies", lambda t: client_address.client_address("", t, 10)),
    Reader("Accept", lambda t: rendering.wants_html(meta(HTTP_ACCEPT=t)), ("{}", "text/html;{}")),  # type: ignore[arg-type]
    Reader(
        "Content-Type of a body",
        lambda t: body.require_json_type(meta(CONTENT_TYPE=t)),  # type: ignore[arg-type]
        ("application/json; {}", "application/json; charset={}", 'a/b; x="{}', "a/b; x*={}"),
    ),
    Reader(
        "Content-Encoding",
        lambda t: body.read(meta(HTTP_CONTENT_ENCODING=t, CONTENT_LENGTH=t)),  # type: ignore[arg-type]
    ),
    Reader("the head of an ASGI request", lambda t: limits.check_scope(scope(cookie=raw(t)))),
    Reader("its length", lambda t: limits.check_scope(scope(content_length=raw(t)))),
    Reader(
        "its content type",
        lambda t: limits.check_scope(scope(content_type=raw(t))),
        ("{}", "a/b; {}", "a/b; charset={}", 'a/b; x="{}'),
    ),
    Reader("the head of a WSGI request", lambda t: limits.check_environ({"HTTP_COOKIE": t})),
    Reader("the whole body", lambda t: body.loads(raw(t)), ("{}", '"{}"', "[{}]", '{"{}":1}')),
    Reader("an object in a body", lambda t: body.loads_object(raw(t)), ("{}", '{"a":"{}"}')),
    Reader(
        "deliveries in a body",
        lambda t: strictjson.loads_slicing(raw(t), "payload", rows="deliveries", most=1000),
        (
            *(
                '{"deliveries":[{"payload":{}}]}',
                '{"deliveries":[{}]}',
                '{"deliveries":[{"{}":1}]}',
            ),
            *('{"deliveries":{}}', '{"{}":1}', "{{}}"),
        ),
        ("webhooks_app.rules.strictjson",),
    ),
    Reader(
        "a list of deliveries",
        lambda t: intake.bulk(meta(), WEBHOOK, raw(t), ""),
        ('{"deliveries":[{}]}',),
    ),
    Reader(
        "an event",
        lambda t: intake_events.single(meta(), raw(t)),
        ('{"type":"a","payload":1,"time":"{}"}', '{"type":"a","payload":{}}'),
    ),
    Reader(
        "a list of events",
        lambda t: intake_events.bulk(meta(), raw(t)),
        ('{"events":[{}]}', '{"events":[{"type":"a","payload":1,"{}":1}]}'),
    ),
    Reader("a path at the fast door", door_requests.served, ("{}", "/webhooks/{}/deliveries")),
    Reader("a name nobody knows", lambda t: nearest.unknown(t, ("webhook", "state"), "field")),
    Reader("an id", ids.is_id, modules=("webhooks_app.rules.ids",)),
    Reader("the name of an account", ids.is_account_name, modules=("webhooks_app.rules.ids",)),
    Reader("a text in a query", asked("type")(query.text, 128)),
    Reader("a text in a query that is no UTF-8", asked("type")(query.text, 2**30), ("\ufffd{}",)),
    Reader("a choice in a query", asked("state")(query.choice, Delivery.State.values)),
    Reader("a moment in a query", asked("since")(query.moment), ("{}", "2026-11-29T{}")),
    Reader("a page's size", lambda t: asked("limit")(lambda r, _: query.limit(r))(t)),
    Reader("a page's place", lambda t: asked("after")(lambda r, _: query.after_id(r))(t)),
    Reader("a page's number", lambda t: asked("after")(lambda r, _: query.after_key(r))(t)),
    Reader("a moment in a body", lambda t: query.read_moment("since", t)),
    Reader("a moment", ids.read_moment, ("{}", "2026-11-29T{}")),
    Reader("a mask in a body", lambda t: masks.changes(sent(t), None, masked=True)),
    Reader("a shape in a body", lambda t: fields.Shape(data={t: t}).is_valid()),
    Reader("a webhook", webhook, ("{}", "https://{}", "https://{}/", "https://e.com/{}")),
    Reader(
        "a URL",
        validators.parse_url,
        ("https://{}", "https://{}/", "https://e.com/{}", "https://e.com:{}", "https://[{}]/"),
        ("webhooks_app.rules.validators",),
    ),
    Reader("a host", hosts.spellings, ("{}", "{}.e.com", "xn--{}.com", "e.com:{}", "[{}]")),
    Reader(
        "the type of an event",
        subscriptions.event_type,
        ("{}", "a.{}"),
        ("webhooks_app.rules.subscriptions",),
    ),
    Reader("a pattern of types", subscriptions.pattern, ("{}", "{}.*")),
    Reader("a channel", subscriptions.channel),
    Reader("a rate", rates.Rate.read, ("{}", "{}/minute", "5/{}")),
    Reader("a retry schedule", schedules.read, ("{}", "5,{}")),
    Reader("a retry schedule of a body", lambda t: schedules.problems([t, t])),
    Reader("the name in a filter", lambda t: filters.compile_filter({t: {f"${t}": 1}})),
    Reader("a text in a filter", lambda t: filters.compile_filter({"a": {"$in": t}})),
    Reader("a payload's text, filtered", filtered),
    Reader("a payload, filtered", lambda t: filtered([t] * 900), base=0.02),
    Reader("the settings of OAuth", oauth_errors, ("{}", "https://e.com/{}", "a b{}")),
    Reader(
        "a client certificate",
        lambda t: certificates.identity_error(t, NOW),
        ("{}", f"{PEM_KEY}{PEM}", "-----BEGIN {}-----\n-----END -----"),
    ),
    Reader("authorities", certificates.authorities_error, ("{}", PEM, PEM * 3)),
    Reader("a header", lambda t: validators.header_error(t, t)),
    Reader("an address", guard.is_public, ("{}", "1.{}", "::{}")),
    Reader("a TLS server", said_first, ("{}", f"{RECORD}{{}}", f"{RECORD}\2\0\x0f\x7f{{}}")),
    Reader("an interaction", lambda t: calls.interaction_errors({t: t, "node": t})),
    Reader("the limits' own address", lambda t: throttling.client_address(meta(REMOTE_ADDR=t))),  # type: ignore[arg-type]
    Reader("whose log-in failed", lambda t: log_in.user_name(None, {"username": t})),  # type: ignore[arg-type]
    Reader(
        "names in a report of an error",
        lambda t: site_errors.AlwaysMasked().cleanse_setting(t, t),
        modules=("project.errors",),
    ),
]


class Pipe:
    """Where the bytes of an answer come from; what is written to it goes nowhere."""

    def write(self, data: bytes) -> None:
        pass

    def abort(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


LOOP = asyncio.new_event_loop()
atexit.register(LOOP.close)


def received(text: str) -> None:
    """The bytes of an answer, as they come from a line in pieces."""
    line = Connection(LOOP, ("http", "h", 80), "", None, lambda line: None)
    line.connection_made(Pipe())  # type: ignore[arg-type]
    line._waiter = LOOP.create_future()
    line._ask(b"")
    data = raw(text)
    for at in range(0, len(data), 256):
        line.data_received(data[at : at + 256])
    line.eof_received()
    line.connection_lost(None)


def sent(text: str) -> dict:
    headers = [{"name": text, "value": text}] * 20
    return {"name": text, "url": text, "headers": headers, "auth": {"password": text}}


RECEIVERS = [
    Reader(
        "strict JSON",
        lambda t: strictjson.loads(raw(t)),
        ("{}", '"{}"', "[{}]", '{"{}":1}', "[" * 65 + '"{}"'),
        ("webhooks_app.rules.strictjson",),
    ),
    Reader(
        "the bytes of an answer",
        received,
        (
            *("{}", "HTTP/1.1 {}", "HTTP/1.1 200 OK\r\n{}\r\n\r\n", "HTTP/1.1 200 OK\r\nX: {}"),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\n\r\n{}",
        ),
    ),
    Reader("characters of a text", strictjson.check_text),
    Reader("an answer", lambda t: responses.interaction(raw(t)), ("{}", '{"responses":[{}]}')),
    Reader(
        "an answer to a challenge",
        lambda t: responses.verification(200, raw(t), "c1"),
        ("{}", '"{}"'),
    ),
    Reader(
        "an answer with a token",
        lambda t: oauth.read_token(raw(t)),
        ("{}", '{"access_token":"{}"}', '{"access_token":"a","expires_in":"{}"}'),
        ("webhooks_app.rules.oauth",),
    ),
    Reader("an answer without one", lambda t: oauth.error_word(raw(t)), ("{}", '{"error":"{}"}')),
    Reader(
        "Retry-After",
        lambda t: sender.retry_after(t, NOW),
        ("{}", "Sun, 29 Nov {}", "1.{}"),
        ("webhooks_app.engine.http.sender",),
    ),
    Reader(
        "an answer with secrets",
        masked,
        modules=("webhooks_app.rules.redaction",),
        every=7,
        base=0.015,
    ),
    Reader(
        "a header of an answer",
        lambda t: attempt_rows._kept(
            sender.Outcome(NOW, raw_headers=[(b"Server", raw(t))] * 6, secrets=("abcd",)),
            headers=True,
        ),
    ),
    Reader("a text for the database", attempt_rows.storable),
    Reader("messages alike", fingerprint.blanked, modules=("webhooks_app.rules.fingerprint",)),
    Reader(
        "the search for messages alike",
        alike_found,
        ("{}", "connect {}"),
        ("webhooks_app.rules.fingerprint",),
        every=3,
    ),
    Reader("text for people", safe_text.shown, ("{}", "\u202e{}")),
    Reader("text for pages", formatting.visible),
    Reader("a URL for the history", message.without_token, ("https://e.com/?{}",)),
]


def tried_by(text: str) -> Attempt:
    return Attempt(requested_by=text)


CONSOLE = [
    Reader(
        "a search among deliveries",
        lambda t: search.search_of(SimpleNamespace(GET={"q": t * 2})),
    ),
    Reader("a place in a list", lambda t: is_place(Delivery, t) or is_place(Account, t)),
    Reader(
        "the words of a job", lambda t: jobs.words_of(MultiValueDict({"type": [t], "since": [t]}))
    ),
    Reader(
        "a job in words", lambda t: jobs.sentence(dict.fromkeys(("type", "payload", "since"), t))
    ),
    Reader("a body for reading", lambda t: deliveries.body_text(raw(t)), ("{}", "[{}]", '"{}"')),
    Reader(
        "who asked for a try", lambda t: deliveries.trigger(tried_by(t), None), ("{}", "x, job {}")
    ),
    Reader("a request as curl", lambda t: sent_request.Sent(t[:4096], [("X", t[:4096])]).curl(t)),
    Reader("where a URL leads", secret_fields.origin_of, ("https://{}",)),
    *(
        Reader(f"the filter {name}", lambda t, name=name: delivery_filters.condition(name, t, NOW))
        for name in delivery_filters.CONDITIONS
    ),
]

OPERATORS = [
    Reader(
        "a duration", terminal.duration, ("{}", "1{}", "{}d"), ("webhooks_app.management.terminal",)
    ),
    Reader("a moment of a command", terminal.moment, ("{}", "2026-11-29T{}")),
    Reader("a file of settings", first_run.names_in, ("{}", "A={}")),
    *(
        Reader(f"the setting {name}", lambda t, setting=setting: setting.read(t))
        for name, setting in conf.SETTINGS.items()
    ),
]

READERS = [*SENDERS, *CLIENTS, *RECEIVERS, *CONSOLE, *OPERATORS]
