"""`/webhooks/:id/secret`: who sees it, how it is rotated, what is noted."""

from datetime import timedelta

import pytest

from tests.api.conftest import problem
from tests.factories import WebhookFactory
from tests.test_missing_key import write
from tests.test_signing import LOST, secrets_of
from webhooks_app import actions
from webhooks_app.models import AuditEntry, SigningKey, Webhook
from webhooks_app.rules import signing
from webhooks_app.rules.validators import MASK


@pytest.fixture
def webhook(account):
    return WebhookFactory(account=account)


@pytest.fixture
def path(webhook):
    return f"/webhooks/{webhook.id}/secret"


def notes():
    return list(AuditEntry.objects.order_by("id").values_list("door", "action"))


class TestShown:
    def test_in_clear_to_a_token_that_manages_never_cached_and_noted(self, api, path, webhook):
        answer = api.get(path)
        assert answer.json() == {"key": secrets_of(webhook)[0]}
        assert answer["Cache-Control"] == "no-store"
        assert notes() == [("api", "Revealed the signing secret.")]
        assert api.get(path).json() == answer.json()

    def test_masked_to_a_session_and_nothing_is_made_or_noted(self, browser, path):
        assert browser.get(path).json() == {"key": MASK}
        assert not SigningKey.objects.exists()
        assert notes() == []

    def test_not_in_the_page_of_the_browsable_api(self, browser, path, webhook):
        secret = actions.reveal_secret(webhook).removeprefix("whsec_")
        shown = browser.get(path, HTTP_ACCEPT="text/html").content.decode()
        assert "<html" in shown
        assert secret not in shown

    @pytest.mark.once
    @pytest.mark.parametrize("scope", ["read", "send"])
    def test_not_to_a_smaller_scope(self, api_for, account, path, scope):
        small = api_for(account, scope=scope)
        problem(small.get(path), 403)
        problem(small.post(f"{path}/rotate"), 403)
        problem(small.delete(f"{path}/old"), 403)
        assert not SigningKey.objects.exists()

    def test_nowhere_else(self, api, api_for, account, path, webhook):
        secret = api.get(path).json()["key"]
        for place in ("", "/settings", "/errors", "/deliveries"):
            assert secret not in api.get(f"/webhooks/{webhook.id}{place}").content.decode()

    def test_one_that_cannot_be_read_is_409_until_it_is_rotated(self, api, path, webhook):
        api.get(path)
        write(SigningKey.objects.get(), "secret", LOST)
        assert problem(api.get(path), 409)["details"] == {"reason": "unreadable"}
        new = api.post(f"{path}/rotate").json()["key"]
        assert secrets_of(webhook) == [new]


class TestRotated:
    def test_without_a_body_a_new_one_is_made_and_the_old_one_holds_a_day(self, api, path, webhook):
        old = api.get(path).json()["key"]
        new = api.post(f"{path}/rotate").json()["key"]
        assert new != old
        assert secrets_of(webhook) == [new, old]
        overlap = SigningKey.objects.get(expires_at__isnull=False)
        assert timedelta(hours=23) < overlap.expires_at - overlap.created_at < timedelta(hours=25)

    def test_the_overlap_is_as_long_as_wanted(self, api, path, webhook):
        api.get(path)
        new = api.post(f"{path}/rotate", {"gracePeriodSeconds": 0}).json()["key"]
        assert secrets_of(webhook) == [new]
        assert api.post(f"{path}/rotate", {"gracePeriodSeconds": 604_800}).status_code == 200

    def test_one_can_be_brought_along(self, api, path, webhook):
        own = signing.secret_of(b"o" * 24)
        assert api.post(f"{path}/rotate", {"key": own}).json() == {"key": own}
        assert secrets_of(webhook)[0] == own

    def test_a_session_rotates_without_seeing_it(self, browser, path, webhook):
        assert browser.post(f"{path}/rotate").json() == {"key": MASK}
        assert len(secrets_of(webhook)) == 2

    @pytest.mark.once
    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"key": "whsec_short"}, "key"),
            ({"key": MASK}, "key"),
            ({"key": None}, "key"),
            ({"key": 5}, "key"),
            ({"key": "whsec_" + "A" * 100_000}, "key"),
            ({"gracePeriodSeconds": -1}, "gracePeriodSeconds"),
            ({"gracePeriodSeconds": 604_801}, "gracePeriodSeconds"),
            ({"gracePeriodSeconds": 10**400}, "gracePeriodSeconds"),
            ({"gracePeriodSeconds": 1.5}, "gracePeriodSeconds"),
            ({"gracePeriodSeconds": True}, "gracePeriodSeconds"),
            ({"gracePeriodSeconds": "60"}, "gracePeriodSeconds"),
            ({"gracePeriodSeconds": None}, "gracePeriodSeconds"),
            ({"grace": 5}, "grace"),
        ],
    )
    def test_bad_input_is_400_and_changes_nothing(self, api, path, webhook, body, field):
        before = api.get(path).json()
        assert list(problem(api.post(f"{path}/rotate", body), 400)["details"]) == [field]
        assert api.get(path).json() == before

    def test_a_body_that_is_no_json_object(self, api, path):
        problem(api.post(f"{path}/rotate", b"[]"), 400)
        problem(api.post(f"{path}/rotate", b"{"), 400)
        problem(api.post(f"{path}/rotate", b"{}", content_type="text/plain"), 415)

    def test_the_overlap_ends_now(self, api, path, webhook):
        api.get(path)
        new = api.post(f"{path}/rotate").json()["key"]
        answer = api.delete(f"{path}/old")
        assert answer.json()["id"] == webhook.id
        assert answer.json()["status"] == {"code": 200, "type": "success"}
        assert secrets_of(webhook) == [new]
        assert api.delete(f"{path}/old").status_code == 200

    def test_it_is_noted_and_the_webhook_has_a_new_version(self, api, path, webhook):
        api.post(f"{path}/rotate")
        api.delete(f"{path}/old")
        assert notes() == [
            ("api", "Rotated the signing secret. The old one holds for 24 h."),
            ("api", "Ended the overlap of signing secrets."),
        ]
        assert Webhook.objects.get(pk=webhook.pk).version == webhook.version + 2

    @pytest.mark.once
    @pytest.mark.parametrize("verb", ["get", "put", "patch"])
    def test_other_verbs_are_405(self, api, path, verb):
        problem(getattr(api, verb)(f"{path}/rotate"), 405)


class TestSecondNames:
    def test_of_a_webhook_that_has_none(self, api, webhook):
        signature = api.get(f"/webhooks/{webhook.id}/settings").json()["signature"]
        assert signature == {"algorithm": "hmac", "prefix": "webhook-"}

    def test_are_set_and_taken_away(self, api, webhook):
        settings = f"/webhooks/{webhook.id}/settings"
        shown = api.patch(settings, {"signature": {"prefix": "svix-"}}).json()
        assert shown["signature"] == {"algorithm": "hmac", "prefix": "svix-"}
        assert api.patch(settings, shown).json()["signature"]["prefix"] == "svix-"
        shown = api.patch(settings, {"signature": {"prefix": "webhook-"}}).json()
        assert shown["signature"]["prefix"] == "webhook-"
        assert Webhook.objects.get(pk=webhook.pk).signature_prefix == ""
        whose = AuditEntry.objects.values_list("action", flat=True)
        assert set(whose) == {"Changed names of the signature headers."}

    @pytest.mark.once
    @pytest.mark.parametrize(
        ("signature", "where"),
        [
            ({"prefix": "content-"}, ["prefix"]),
            ({"prefix": 5}, ["prefix"]),
            ({"prefix": None}, ["prefix"]),
            ({"prefix": "x" * 5000}, ["prefix"]),
            ({"algorithm": "ed25519"}, ["algorithm"]),
            ({"algorithm": []}, ["algorithm"]),
            ({"version": "v1"}, ["version"]),
        ],
    )
    def test_what_cannot_be_is_400(self, api, webhook, signature, where):
        answer = api.patch(f"/webhooks/{webhook.id}/settings", {"signature": signature})
        assert list(problem(answer, 400)["details"]["signature"]) == where

    @pytest.mark.once
    @pytest.mark.parametrize("signature", [[], "svix-", 5, None])
    def test_what_is_no_object_is_400(self, api, webhook, signature):
        answer = api.patch(f"/webhooks/{webhook.id}/settings", {"signature": signature})
        assert "signature" in problem(answer, 400)["details"]

    def test_and_own_headers_exclude_each_other(self, api, account):
        webhook = WebhookFactory(account=account, headers=[("Svix-Id", "1")])
        settings = f"/webhooks/{webhook.id}/settings"
        details = problem(api.patch(settings, {"signature": {"prefix": "svix-"}}), 400)["details"]
        assert list(details["headers"]) == ["0"]
        actions.update_webhook(webhook, headers=[], signature_prefix="svix-")
        taken = {"headers": [{"name": "svix_signature", "value": "x"}]}
        details = problem(api.patch(f"/webhooks/{webhook.id}", taken), 400)["details"]
        assert list(details["headers"]) == ["0"]
