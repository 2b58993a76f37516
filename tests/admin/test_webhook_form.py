import pytest
from django.contrib.admin.models import LogEntry

from tests.admin.pages import url, webhook_form
from tests.factories import AccountFactory, WebhookFactory, WorkerFactory
from webhooks_app.models import Webhook
from webhooks_app.rules.validators import MASK

ADD = url("webhook", "add")


@pytest.fixture
def webhook(account):
    return WebhookFactory(
        account=account,
        name="Orders",
        url="https://erp.example.com/hook?x=1",
        token="tok-Ämpel",
        auth_username="acme",
        auth_password="pass-Ämpel",
        headers=[("X-One", "val-Ämpel-1"), ("X-Two", "val-Ämpel-2"), ("X-Three", "val-Ämpel-3")],
    )


def page(webhook):
    return url("webhook", webhook.pk, "change")


def headers_of(webhook):
    return [(header.name, header.value) for header in webhook.headers.all()]


def save(client, webhook, **changes):
    """Press Save on the page after changing these fields."""
    data = webhook_form(client.get(page(webhook)))
    data.update({name.replace("headers_", "headers-"): value for name, value in changes.items()})
    return client.post(page(webhook), data)


def errors(response):
    return response.content.decode().split('class="errornote"', 1)[1]


def test_a_webhook_is_added_with_three_headers_inline(boss, account):
    data = webhook_form(boss.get(ADD))
    assert data["account"] == "acme", "the only account is filled in"
    data |= {"name": "Orders", "url": "https://erp.example.com/hook", "new_token": "t"}
    data |= {"auth_username": "me", "new_password": "p"}
    for number, name in enumerate(("X-One", "X-Two", "X-Two")):
        data |= {f"headers-{number}-name": name, f"headers-{number}-new_value": f"v{number}"}
    response = boss.post(ADD, data, follow=True)
    webhook = Webhook.objects.get()
    assert response.redirect_chain[-1][0] == url("webhook", webhook.pk, "change")
    assert (webhook.account, webhook.name, webhook.token) == (account, "Orders", "t")
    assert (webhook.auth_username, webhook.auth_password) == ("me", "p")
    assert headers_of(webhook) == [("X-One", "v0"), ("X-Two", "v1"), ("X-Two", "v2")]
    assert webhook.verification_due_at, "adding asks for the verification"
    assert webhook.health


def test_saving_without_touching_anything_changes_nothing(boss, webhook):
    before = Webhook.objects.values().get()
    ids = list(webhook.headers.values_list("pk", flat=True))
    assert save(boss, webhook).status_code == 302
    assert Webhook.objects.values().get() == before
    assert list(webhook.headers.values_list("pk", flat=True)) == ids


def test_a_row_is_renamed_and_keeps_its_value(boss, webhook):
    save(boss, webhook, **{"headers-1-name": "X-Renamed"})
    assert headers_of(webhook)[1] == ("X-Renamed", "val-Ämpel-2")


def test_a_value_is_replaced_and_the_others_stay(boss, webhook):
    save(boss, webhook, **{"headers-1-new_value": "new"})
    assert [value for _, value in headers_of(webhook)] == ["val-Ämpel-1", "new", "val-Ämpel-3"]


@pytest.mark.parametrize(
    ("positions", "order"),
    [
        (("3", "2", "1"), "Three Two One"),
        (("1", "2", "1"), "Three One Two"),
        (("3", "2", "3"), "Two Three One"),
        (("", "2", "3"), "Two Three One"),
        (("9", "2", "3"), "Two Three One"),
    ],
)
def test_rows_are_reordered_by_their_numbers(boss, webhook, positions, order):
    save(boss, webhook, **{f"headers-{i}-position": at for i, at in enumerate(positions)})
    assert [name for name, _ in headers_of(webhook)] == [f"X-{word}" for word in order.split()]
    assert dict(headers_of(webhook))["X-Three"] == "val-Ämpel-3", "values go with their names"


def test_a_row_is_deleted_and_one_added(boss, webhook):
    save(
        boss,
        webhook,
        **{"headers-0-DELETE": "on", "headers-3-name": "X-New", "headers-3-new_value": "n"},
    )
    assert [name for name, _ in headers_of(webhook)] == ["X-Two", "X-Three", "X-New"]


def test_limits_are_set_and_taken_back(boss, webhook):
    typed = {"rate_limit": " 100/min ", "schedule": "5, 300.5", "breaker_after": "5"}
    save(boss, webhook, **typed, breaker_off="on")
    row = Webhook.objects.get()
    assert (row.rate_limit, row.delays, row.breaker_after) == ("100/minute", [5, 300.5], 5)
    assert row.breaker_off
    shown = webhook_form(boss.get(page(webhook)))
    assert (shown["rate_limit"], shown["schedule"]) == ("100/minute", "5, 300.5")
    save(boss, webhook, rate_limit="", schedule="none")
    row = Webhook.objects.get()
    assert (row.rate_limit, row.delays) == (None, [])
    save(boss, webhook, schedule="")
    assert Webhook.objects.get().delays is None


def test_the_form_of_events_is_chosen_and_has_a_content_type_of_its_own(boss, webhook):
    own = {"headers-TOTAL_FORMS": "4", "headers-3-name": "content-type"}
    own |= {"headers-3-new_value": "text/plain"}
    refused = save(boss, webhook, form="standard", **own)
    assert "remove the header Content-Type" in errors(refused)
    assert Webhook.objects.get().form == "payload"
    save(boss, webhook, form="standard")
    assert Webhook.objects.get().form == "standard"
    assert "remove the header Content-Type" in errors(save(boss, webhook, **own))
    save(boss, webhook, form="payload", **own)
    assert headers_of(Webhook.objects.get())[-1] == ("content-type", "text/plain")
    assert "remove the header Content-Type" in errors(save(boss, webhook, form="thin"))


def test_who_may_only_look_sees_the_limits(viewer, webhook):
    Webhook.objects.update(rate_count=100, rate_seconds=60, retry_schedule="5,300")
    shown = viewer.get(page(webhook)).content.decode()
    assert "100/minute" in shown
    assert "5, 300" in shown


def test_a_rate_that_an_older_worker_would_not_keep_is_refused_and_names_the_worker(boss, webhook):
    WorkerFactory(version="0.1.0", host="old-host", pid=4711)
    response = save(boss, webhook, rate_limit="5/second")
    assert "older version" in response.content.decode()
    assert "old-host:4711" in response.content.decode()
    assert Webhook.objects.get().rate_limit is None


def rows(count):
    data = {"headers-TOTAL_FORMS": str(count)}
    for number in range(count):
        data |= {f"headers-{number}-name": f"X-{number}", f"headers-{number}-new_value": "v"}
        data |= {f"headers-{number}-id": "", f"headers-{number}-position": ""}
    return data


def test_ninety_nine_headers_are_saved_the_hundredth_is_an_error(boss, account):
    data = webhook_form(boss.get(ADD)) | {"name": "Many", "url": "https://erp.example.com/"}
    response = boss.post(ADD, data | rows(100))
    assert "at most 99 headers" in errors(response)
    assert not Webhook.objects.exists()
    assert boss.post(ADD, data | rows(99)).status_code == 302
    assert Webhook.objects.get().headers.count() == 99
    webhook = Webhook.objects.get()
    more = {"headers-TOTAL_FORMS": "100", "headers-99-name": "X-99", "headers-99-new_value": "v"}
    assert "at most 99 headers" in errors(save(boss, webhook, **more))
    assert webhook.headers.count() == 99


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("url", "http://127.0.0.1/", "is not a public address"),
        ("url", " https://erp.example.com/", "begin or end with white space"),
        ("name", "   ", "white space alone"),
        ("name", "x" * 1025, "The name must have 1 to 1,024 characters"),
        ("new_token", "x" * 1025, "at most 1,024 characters"),
        ("auth_username", "a:b", "colon"),
        ("headers-0-name", "Host", "it is set by us"),
        ("headers-1-name", "Authorization", "set from the basic auth"),
        ("headers-2-new_value", "a\nb", "line breaks"),
        ("headers-3-name", "X-New", "The value must have"),
        ("headers-3-new_value", MASK, "mask"),
        ("timeout", "61", "less than or equal to 60"),
        ("rate_limit", "many", "Must be like"),
        ("rate_limit", "0/minute", "Must be like"),
        ("schedule", "5; 300", "seconds with commas between"),
        ("schedule", "604801", "0 to 604800"),
        ("breaker_after", "2", "greater than or equal to 3"),
        ("breaker_after", "101", "less than or equal to 100"),
    ],
)
def test_bad_input_is_told_at_its_field_and_nothing_is_saved(boss, webhook, field, value, sentence):
    before = Webhook.objects.values().get()
    if field == "headers-3-new_value":
        response = save(boss, webhook, **{"headers-3-name": "X-New", field: value})
    else:
        response = save(boss, webhook, **{field: value})
    assert response.status_code == 200
    text = errors(response)
    place = text.index(f'name="{field}"')
    start = max(text.rfind("<tr", 0, place), text.rfind('class="form-row', 0, place))
    assert sentence in text[start : place + 900], "the sentence stands in the row of its field"
    assert text.count(sentence) == 1
    assert Webhook.objects.values().get() == before
    assert len(headers_of(webhook)) == 3


def test_a_password_needs_a_user_name(boss, account):
    data = webhook_form(boss.get(ADD)) | {"name": "A", "url": "https://erp.example.com/"}
    assert "A password needs a username." in errors(boss.post(ADD, data | {"new_password": "p"}))


def test_secrets_are_kept_replaced_and_removed(boss, webhook):
    save(boss, webhook, new_token=MASK, name="Renamed")
    webhook.refresh_from_db()
    assert (webhook.name, webhook.token) == ("Renamed", "tok-Ämpel"), "the mask keeps it"
    save(boss, webhook, new_token="fresh", **{"new_password-clear": "on"})
    webhook.refresh_from_db()
    assert (webhook.token, webhook.auth_password) == ("fresh", "")
    assert webhook.verification_due_at, "a new token asks for the verification"
    save(boss, webhook, **{"new_token-clear": "on"})
    webhook.refresh_from_db()
    assert webhook.token == ""


def test_without_a_user_name_the_password_goes_too(boss, webhook):
    save(boss, webhook, auth_username="")
    webhook.refresh_from_db()
    assert (webhook.auth_username, webhook.auth_password) == ("", "")


def test_stored_secrets_are_never_in_a_page(boss, viewer, editor, webhook):
    for client in (boss, viewer, editor):
        for place in (page(webhook), url("webhook"), url("webhook", webhook.pk, "history")):
            text = client.get(place).content.decode()
            assert "Ämpel" not in text
            assert "gAAAA" not in text, "nor as ciphertext"
    assert MASK in boss.get(page(webhook)).content.decode()
    bad = save(boss, webhook, url="nonsense")
    assert "Ämpel" not in bad.content.decode()


def test_what_was_typed_comes_back_with_an_error(boss, webhook):
    response = save(boss, webhook, url="nonsense", new_token="typed just now")
    assert webhook_form(response)["new_token"] == "typed just now"


def test_the_log_names_fields_and_no_values(boss, webhook):
    save(boss, webhook, new_token="fresh-Ämpel", name="N", **{"headers-0-new_value": "new-Ämpel"})
    message = LogEntry.objects.get().get_change_message()
    assert message == "Changed name, token and headers."
    assert "Ämpel" not in LogEntry.objects.get().change_message


def test_row_ids_of_another_webhook_are_refused(boss, webhook, account):
    other = WebhookFactory(account=account, headers=[("X-Other", "theirs")])
    row = other.headers.get()
    response = save(boss, webhook, **{"headers-0-id": row.pk, "headers-0-name": "X-Other"})
    assert "Somebody took this header away meanwhile" in errors(response)
    save(boss, webhook, **{"headers-0-id": row.pk, "headers-0-DELETE": "on"})
    assert headers_of(other) == [("X-Other", "theirs")]
    assert ("X-Other", "theirs") not in headers_of(webhook)


def test_a_header_added_meanwhile_by_another_writer_is_kept(boss, webhook):
    data = webhook_form(boss.get(page(webhook)))
    webhook.headers.create(name="X-Late", value="late", position=3)
    shown = boss.post(page(webhook), data | {"headers-0-name": "X-Renamed"})
    assert "X-Renamed" not in dict(headers_of(webhook))  # first both texts are shown
    boss.post(page(webhook), webhook_form(shown))
    assert ("X-Late", "late") in headers_of(webhook)
    assert ("X-Renamed", "val-Ämpel-1") in headers_of(webhook)


def test_an_unknown_account_is_an_error_at_its_field(boss, account):
    AccountFactory(name="other")
    data = webhook_form(boss.get(ADD))
    assert data["account"] == ""
    data |= {"name": "A", "url": "https://erp.example.com/", "account": "nobody"}
    assert "There is no account of this name." in errors(boss.post(ADD, data))


def test_the_account_of_a_webhook_stays(boss, webhook, account):
    AccountFactory(name="other")
    save(boss, webhook, account="other", name="N")
    webhook.refresh_from_db()
    assert (webhook.account, webhook.name) == (account, "N")


class TestWhoMayNotRevealSecrets:
    def test_cannot_send_them_to_another_origin(self, editor, webhook):
        for there in (
            "https://evil.example.net/hook?x=1",
            "http://erp.example.com/hook?x=1",
            "https://erp.example.com:8443/hook?x=1",
        ):
            response = save(editor, webhook, url=there)
            assert errors(response).count("You may not reveal secrets") == 5
        webhook.refresh_from_db()
        assert webhook.url == "https://erp.example.com/hook?x=1"

    def test_may_move_it_with_every_secret_entered_anew(self, editor, webhook):
        new = {f"headers-{i}-new_value": f"n{i}" for i in range(2)} | {"headers-2-DELETE": "on"}
        save(
            editor,
            webhook,
            url="https://new.example.net/",
            new_token="t",
            **{"new_password-clear": "on"},
            **new,
        )
        webhook.refresh_from_db()
        assert (webhook.url, webhook.token) == ("https://new.example.net/", "t")
        assert headers_of(webhook) == [("X-One", "n0"), ("X-Two", "n1")]

    def test_may_change_path_and_query(self, editor, webhook):
        save(editor, webhook, url="https://ERP.example.com:443/other?y=2")
        webhook.refresh_from_db()
        assert webhook.url.endswith("/other?y=2")
        assert webhook.token == "tok-Ämpel"

    def test_who_may_reveal_may_move_it(self, boss, webhook):
        save(boss, webhook, url="https://new.example.net/")
        webhook.refresh_from_db()
        assert webhook.url == "https://new.example.net/"
        assert webhook.verified_at is None
