"""Secrets that a receiver sends back."""

import html
import json
from urllib.parse import quote, quote_plus

import pytest

from webhooks_app.rules.echoes import masked, spellings
from webhooks_app.rules.validators import MASK

pytestmark = pytest.mark.once

SECRETS = ["tok-Ämpel&\"<'>/ 1", "Bearer abcdefgh12345678", "k-99"]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "spell",
    [
        *(str, quote, quote_plus, json.dumps, html.escape),
        lambda secret: quote(secret, safe=""),
        lambda secret: json.dumps(secret, ensure_ascii=False),
        lambda secret: secret.removeprefix("Bearer "),
    ],
)
def test_a_secret_is_masked_in_every_spelling_that_receivers_use(secret, spell):
    answer = masked(f'{{"you sent": {spell(secret)}, "more": 1}}'.encode(), spellings(SECRETS))
    assert MASK.encode() in answer
    assert spell(secret).strip('"').encode() not in answer
    assert answer.endswith(b', "more": 1}')


def test_the_longer_of_two_secrets_leaves_no_rest():
    answer = masked(b"secret-and-more", spellings(["secret", "secret-and-more"]))
    assert answer == MASK.encode()


def test_words_that_are_found_by_chance_stay():
    assert masked(b"a bad token", spellings(["", "a", "bad"])) == b"a bad token"
