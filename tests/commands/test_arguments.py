"""Arguments of `manage.py webhooks VERB` that cannot be meant: exit code 2 and a sentence."""

import os

import pytest

from tests.commands.test_webhooks import both
from tests.factories import DeliveryFactory, WebhookFactory

pytestmark = pytest.mark.django_db

# `call_command` raises what argparse refuses with code 1; a command line ends with 2 (see
# test_wrong_usage_is_exit_code_2).
REFUSED = 1
NO_UTF8 = os.fsdecode(b"\xff")  # as the command line hands it over


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay", "--since", "999999d"),
        ("purge", "--older-than", "999999d", "--dry-run"),
        ("rebuild-counts", "--since", "999999d"),
    ],
    ids=" ".join,
)
def test_an_age_of_more_than_a_century(arguments):
    assert "must be at most 36500d" in both(*arguments, code=REFUSED)[1]


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
@pytest.mark.parametrize("verb", ["replay", "rebuild-counts"])
def test_a_moment_outside_the_calendar(verb, since):
    assert "must lie in the years 1 to 9999" in both(verb, "--since", since, code=REFUSED)[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay", "--since", "0001-01-01", "--dry-run"),
        ("replay", "--since", "36500d", "--dry-run"),
        ("purge", "--older-than", "36500d", "--dry-run"),
        ("rebuild-counts", "--since", "0001-01-01"),
    ],
    ids=" ".join,
)
def test_the_longest_ago_that_can_be_meant(arguments):
    DeliveryFactory()
    both(*arguments)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("explain", NO_UTF8), "Id"),
        (("send", NO_UTF8), "Webhook"),
        (("send", "0" * 24, "--type", NO_UTF8), "Type"),
        (("verify", NO_UTF8), "Ids"),
        (("replay", "--webhook", NO_UTF8), "Webhook"),
        (("create-token", NO_UTF8, "--create"), "Account"),
        (("create-token", "acme", "--create", "--name", NO_UTF8), "Name"),
    ],
    ids=lambda value: " ".join(value[:1]) if isinstance(value, tuple) else "",
)
def test_text_that_is_no_utf8(arguments, names):
    assert both(*arguments, code=2)[1] == f"{names} must be UTF-8 text."


def test_a_body_that_is_no_utf8_is_judged_as_a_body():
    assert (
        "The body cannot be sent" in both("send", WebhookFactory().id, "--data", NO_UTF8, code=2)[1]
    )
