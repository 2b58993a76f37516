"""The receiver kit: what reaches the view, what is answered before it, and our own sender at it."""

import io
import json
import socketserver
import subprocess
import sys
import threading
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
import time_machine
from asgiref.sync import async_to_sync
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponse, JsonResponse
from django.test import RequestFactory
from django.utils import timezone

from tests.factories import WebhookFactory
from webhooks_app import actions
from webhooks_app.engine import worker
from webhooks_app.models import Webhook
from webhooks_app.receiving import receiver
from webhooks_app.rules import signing

SECRET, OTHER = signing.secret_of(b"s" * 32), signing.secret_of(b"o" * 32)
NOW = 1_700_000_000
IDENT = "5cc6d3c0b4001336f89de71a"


@pytest.fixture(autouse=True)
def clock():
    caches["default"].clear()
    with time_machine.travel(NOW, tick=False):
        yield


class View:
    """A view that counts its calls and answers what it is told."""

    def __init__(self, **options):
        self.calls, self.status = [], 200
        self.view = receiver(**options)(self.orders)

    def orders(self, request):
        self.calls.append((request.webhook, request.body))
        return HttpResponse("done", status=self.status)

    def post(self, body=b'{"n": 1}', *, secret=SECRET, ident=IDENT, at=NOW, query="", **meta):
        return self.view(self.request("post", body, secret, ident, at, query, meta))

    def get(self, query, *, secret=SECRET, ident=IDENT, at=NOW, **meta):
        return self.view(self.request("get", b"", secret, ident, at, query, meta))

    @staticmethod
    def request(method, body, secret, ident, at, query, meta):
        if secret:
            signer = signing.signer(signing.key_of(secret))
            made = signing.signature([signer], ident.encode(), at, body).decode()
            meta = {
                "HTTP_WEBHOOK_ID": ident,
                "HTTP_WEBHOOK_TIMESTAMP": str(at),
                "HTTP_WEBHOOK_SIGNATURE": made,
            } | meta
        path = f"/hook{query}"
        if method == "get":
            return RequestFactory().get(path, **meta)
        return RequestFactory().post(path, body, content_type="application/json", **meta)


class TestASignature:
    def test_that_holds_reaches_the_view_with_body_id_and_time(self):
        view = View(secret=SECRET)
        assert view.post("ä".encode()).content == b"done"
        ((call, body),) = view.calls
        assert (call.id, call.sent_at, body) == (IDENT, NOW, "ä".encode())

    @pytest.mark.parametrize(
        ("how", "says"),
        [
            ({"secret": OTHER}, "no signature matches"),
            ({"at": NOW - 301}, "301 s behind the clock of this server"),
            ({"at": NOW + 301}, "301 s ahead of the clock"),
            ({"secret": ""}, "not there"),
            ({"secret": "", "query": "?token=t"}, "not there"),
            ({"HTTP_WEBHOOK_ID": "other"}, "no signature matches"),
            ({"HTTP_WEBHOOK_SIGNATURE": "v1,"}, "no signature matches"),
            ({"HTTP_WEBHOOK_SIGNATURE": "v1," + "A" * 100_000}, "too long"),
        ],
    )
    def test_that_does_not_is_401_and_says_why(self, how, says):
        view = View(secret=SECRET, token="t")
        answer = view.post(**how)
        assert answer.status_code == 401
        assert says in answer.content.decode()
        assert answer["Content-Type"].startswith("text/plain")
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert SECRET not in answer.content.decode()
        assert view.calls == []

    def test_of_either_secret_holds_during_a_rotation(self):
        view = View(secret=[OTHER, SECRET])
        assert [view.post(secret=s, ident=s[-5:]).status_code for s in (SECRET, OTHER)] == [
            200,
            200,
        ]

    def test_is_looked_for_by_a_function_where_there_are_many_senders(self):
        view = View(secret=lambda request: SECRET if request.path == "/hook" else OTHER)
        assert view.post().status_code == 200
        assert view.post(secret=OTHER).status_code == 401

    def test_tolerates_as_much_as_one_wants(self):
        assert View(secret=SECRET, tolerance=10).post(at=NOW - 11).status_code == 401
        assert View(secret=SECRET, tolerance=3600).post(at=NOW - 3000).status_code == 200


class TestAToken:
    def test_decides_where_no_secret_is_given(self):
        view = View(token="t ä?")
        assert view.post(secret="", query="?token=t%20%C3%A4%3F").status_code == 200
        for query in ("?token=t", "?token=", "", "?token=%ff", "?token=t%20%C3%A4%3F&token="):
            assert view.post(secret="", query=query).status_code == 401
        assert len(view.calls) == 1
        assert view.calls[0][0].sent_at is None


class TestWithoutEither:
    @pytest.mark.parametrize(
        "options", [{}, {"secret": ""}, {"secret": []}, {"secret": [""]}, {"secret": "short"}]
    )
    def test_no_view_stands_open(self, options):
        with pytest.raises(ImproperlyConfigured):
            View(**options)

    def test_also_when_a_function_finds_none(self):
        view = View(secret=lambda request: "")
        with pytest.raises(ImproperlyConfigured):
            view.post()
        assert view.calls == []

    def test_and_a_token_does_not_take_the_place_of_what_a_function_did_not_find(self):
        view = View(secret=lambda request: "", token="t")
        with pytest.raises(ImproperlyConfigured):
            view.post(secret="", query="?token=t")
        assert view.calls == []

    @pytest.mark.parametrize("name", ["secret", "token"])
    def test_a_function_that_nobody_awaits_is_refused_at_once(self, name):
        async def found(request):
            return SECRET

        with pytest.raises(ImproperlyConfigured, match=f"{name}= .* plain"):
            View(**{name: found})


class TestAChallenge:
    @pytest.mark.parametrize("challenge", ["c0ffee", "a" * 256, "A-z_0.9~"])
    def test_is_answered_as_plain_text_after_the_signature(self, challenge):
        view = View(secret=SECRET)
        answer = view.get(f"?challenge={challenge}")
        assert (answer.status_code, answer.content) == (200, challenge.encode())
        assert answer["Content-Type"] == "text/plain; charset=utf-8"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert view.calls == []

    @pytest.mark.parametrize(
        "challenge", ["", "a" * 257, "<script>", "a b", "a%0d%0aX:y", "%C3%A9", "a%00"]
    )
    def test_that_is_no_url_safe_text_is_400(self, challenge):
        assert View(secret=SECRET).get(f"?challenge={challenge}").status_code == 400

    def test_is_never_answered_before(self):
        for view, secret in ((View(secret=SECRET), OTHER), (View(token="t"), "")):
            answer = view.get("?challenge=c0ffee&token=x", secret=secret)
            assert answer.status_code == 401
            assert b"c0ffee" not in answer.content

    def test_cannot_be_turned_into_a_call(self):
        """Both are signed with an empty body."""
        view = View(secret=SECRET)
        assert view.post(b"").status_code == 400
        assert view.calls == []


class TestTheBody:
    def test_past_the_limit_is_413_before_it_is_hashed(self, monkeypatch):
        view = View(secret=SECRET, body_limit=100)
        assert view.post(b"x" * 100).status_code == 200
        monkeypatch.setattr(signing, "check", None)
        assert view.post(b"x" * 101, secret="").status_code == 413
        assert view.post(b"x", secret="", CONTENT_LENGTH="9" * 400).status_code == 413

    def test_that_says_nothing_of_its_length_is_read_no_further(self):
        class Endless:
            taken = 0

            def read(self, size=-1):
                assert 0 < size <= 101
                self.taken += size
                return b"x" * size

        view, stream = View(secret=SECRET, body_limit=100), Endless()
        request = view.request("post", b"", SECRET, IDENT, NOW, "", {})
        request._stream = stream
        request._read_started = False
        assert view.view(request).status_code == 413
        assert stream.taken <= 101

    def test_that_comes_in_chunks_is_read_under_wsgi_where_the_server_tells_its_end(self):
        view, body = View(secret=SECRET, body_limit=100), b"x" * 100
        chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}
        ended = chunked | {"wsgi.input_terminated": True}
        assert view.post(body, **ended, **{"wsgi.input": io.BytesIO(body)}).status_code == 200
        assert view.calls[0][1] == body
        longer = io.BytesIO(body + b"x")
        assert view.post(body, **ended, **{"wsgi.input": longer}).status_code == 413
        assert view.post(body, **chunked).status_code == 411

    def test_that_a_middleware_has_read_is_taken(self):
        view = View(secret=SECRET)
        request = view.request("post", b"{}", SECRET, IDENT, NOW, "", {})
        assert request.body == b"{}"
        assert view.view(request).status_code == 200

    def test_may_be_read_again_by_the_view(self):
        @receiver(secret=SECRET)
        def view(request):
            return JsonResponse(json.loads(request.body))

        request = View.request("post", b'{"n": 1}', SECRET, IDENT, NOW, "", {})
        assert view(request).content == b'{"n": 1}'


class TestRepeats:
    def test_are_dropped_once_the_view_has_succeeded(self):
        view = View(secret=SECRET)
        assert view.post().content == b"done"
        again = view.post(at=NOW + 5)
        assert (again.status_code, again.content) == (200, b"")
        assert len(view.calls) == 1
        view.post(ident="another")
        assert len(view.calls) == 2

    @pytest.mark.parametrize("status", [500, 400, 302])
    def test_are_seen_by_a_view_that_failed(self, status):
        view = View(secret=SECRET)
        view.status = status
        view.post()
        view.status = 200
        assert view.post().content == b"done"
        assert len(view.calls) == 2

    def test_are_seen_by_a_view_that_raised(self):
        view = View(secret=SECRET)
        view.status = "no status"
        with pytest.raises(TypeError, match="status code"):
            view.post()
        view.status = 200
        view.post()
        assert len(view.calls) == 2

    def test_of_one_view_or_path_are_not_those_of_another(self):
        first, second = View(secret=SECRET), View(secret=SECRET)
        second.view = receiver(secret=SECRET)(lambda request: HttpResponse("lambda"))
        first.post()
        assert second.post().content == b"lambda"

    def test_of_forged_calls_mark_nothing(self):
        view = View(secret=SECRET)
        view.post(secret=OTHER)
        assert view.post().content == b"done"

    def test_are_forgotten_after_a_while(self):
        view = View(secret=SECRET, remember=60)
        view.post()
        with time_machine.travel(NOW + 61, tick=False):
            assert view.post(at=NOW + 61).content == b"done"

    def test_are_not_dropped_without_a_cache(self):
        view = View(secret=SECRET, cache=None)
        view.post()
        assert view.post().content == b"done"

    def test_a_cache_that_is_away_costs_no_call(self, settings):
        settings.CACHES = {"default": {"BACKEND": "tests.test_receiving.Away"}}
        view = View(secret=SECRET)
        assert view.post().content == b"done"
        assert view.post().content == b"done"


class Away:
    def __init__(self, *args):
        pass

    def get(self, *args, **kwargs):
        raise ConnectionError

    set = get

    def close(self, **kwargs):
        pass


def test_other_methods_are_405():
    view = View(secret=SECRET)
    answer = view.view(RequestFactory().put("/hook", b"{}"))
    assert (answer.status_code, answer["Allow"]) == (405, "GET, POST")


def test_no_csrf_token_is_asked_for():
    assert View(secret=SECRET).view.csrf_exempt


def test_an_asynchronous_view():
    calls = []

    @receiver(secret=SECRET)
    async def view(request):
        calls.append(request.webhook.id)
        return HttpResponse("done")

    def post(secret=SECRET):
        return async_to_sync(view)(View.request("post", b"{}", secret, IDENT, NOW, "", {}))

    assert post(OTHER).status_code == 401
    assert [post().content, post().content] == [b"done", b""]
    assert calls == [IDENT]


@pytest.mark.django_db
def test_an_asynchronous_view_whose_secret_stands_in_the_database():
    webhook = WebhookFactory(name=SECRET)

    @receiver(secret=lambda request: Webhook.objects.get(pk=webhook.pk).name)
    async def view(request):
        return HttpResponse("done")

    def post(secret=SECRET):
        return async_to_sync(view)(View.request("post", b"{}", secret, IDENT, NOW, "", {}))

    assert post(OTHER).status_code == 401
    assert post().content == b"done"


def test_it_works_in_a_project_without_the_app():
    program = """
import django
from django.conf import settings
settings.configure(ROOT_URLCONF=__name__)
django.setup()
from webhooks_app.receiving import receiver
import sys
ours = {name for name in sys.modules if name.startswith("webhooks_app.")}
assert ours <= {"webhooks_app.receiving", "webhooks_app.rules", "webhooks_app.rules.signing"}, ours
assert "rest_framework" not in sys.modules
print("ok")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout == "ok\n", done.stderr


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


class _Threads(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("loopback")
class TestOurOwnSender:
    """A real server with the kit, called by worker, interaction, test and verification."""

    @pytest.fixture(autouse=True)
    def clock(self):
        caches["default"].clear()

    def test_is_received_verified_and_never_twice(self):
        bodies, secret = [], []

        @receiver(secret=lambda request: secret)
        def orders(request):
            bodies.append(json.loads(request.body))
            failing = len(bodies) == 1
            return JsonResponse({"responses": []}, status=500 if failing else 200)

        def application(environ, start_response):
            response = orders(WSGIRequest(environ))
            status = f"{response.status_code} {response.reason_phrase}"
            start_response(status, list(response.items()))
            return [response.content]

        server = make_server("127.0.0.1", 0, application, _Threads, _Quiet)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/hook"
            webhook = WebhookFactory(url=url, verified_at=None)
            secret.append(actions.reveal_secret(webhook))
            assert actions.verify(webhook).message == ""
            first = actions.deliver(webhook, {"n": "Zoë"})
            worker.run(until_empty=True)  # it fails
            actions.retry(first)
            worker.run(until_empty=True)  # it is seen once more, and succeeds
            actions.retry(first)
            worker.run(until_empty=True)  # a repeat
            first.refresh_from_db()
            assert (first.state, bodies) == ("delivered", [{"n": "Zoë"}] * 2)
            assert actions.interact(webhook, {}) == {"responses": [], "attributes": {}}
            actions.rotate_secret(webhook)
            assert actions.test(webhook).ok
            actions.end_overlap(webhook)
            Webhook.objects.filter(pk=webhook.pk).update(verified_at=timezone.now())
            webhook.health.__class__.objects.update(test_asked_at=None)
            refused = actions.test(webhook)
            assert (refused.status, refused.kind) == (401, "signature")
            assert "no signature matches" in refused.answer
        finally:
            server.shutdown()
            server.server_close()
