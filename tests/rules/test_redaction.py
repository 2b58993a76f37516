"""Secrets that a receiver sends back."""

import html
import json
import random
import string
import time
from urllib.parse import quote, quote_plus

import pytest

from webhooks_app.rules.redaction import MARGIN, masked
from webhooks_app.rules.validators import MASK

pytestmark = pytest.mark.once

TOKEN = "tok-Ämpel&\"<'>/+ 1"
SECRETS = [
    TOKEN,
    "Bearer abcdefgh12345678+/=",
    "k-99",
    "a%41&amp;\\\\n+b",
    "\U0001f600 key of ours",
]


def plain(character):
    return character.isascii() and character.isalnum()


def escapes(character):
    data = character.encode("utf-16-be")
    return "".join(f"\\u{data[at : at + 2].hex()}" for at in range(0, len(data), 2))


def in_escapes(text):
    return "".join(c if plain(c) else escapes(c) for c in text)


def dotnet(text):
    return "".join(c if plain(c) else escapes(c).upper().replace("U", "u") for c in text)


def php(text):
    return json.dumps(text).replace("/", "\\/")


def go(text):
    for sign in "<>&":
        text = text.replace(sign, escapes(sign))
    return text


def lower_percent(text):
    return "".join(c if plain(c) else "".join(f"%{b:02x}" for b in c.encode()) for c in text)


def jinja(text):
    return html.escape(text).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")


SPELLINGS = {
    "as it is": str,
    "JSON": json.dumps,
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False),
    "JSON of PHP": php,
    "JSON of Go": lambda text: go(json.dumps(text, ensure_ascii=False)),
    "JSON of .NET": dotnet,
    "JSON of .NET in lower case": in_escapes,
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "percent": quote,
    "percent of all": lambda text: quote(text, safe=""),
    "percent in lower case": lower_percent,
    "as a form": quote_plus,
    "as a form in JSON of .NET": lambda text: quote_plus(text).replace("+", "\\u002B"),
    "HTML": html.escape,
    "HTML of a text": lambda text: html.escape(text, quote=False),
    "HTML of Jinja": jinja,
    "HTML by names": lambda text: jinja(text).replace("&#39;", "&apos;").replace("+", "&plus;"),
    "HTML by numbers": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "HTML by hex numbers": lambda text: "".join(f"&#X{ord(c):X};" for c in text),
    "JSON in HTML": lambda text: html.escape(php(text)),
    "HTML in JSON of Go": lambda text: go(json.dumps(html.escape(text))),
    "Python's bytes": lambda text: repr(text.encode()),
    "Python's text": repr,
    "UTF-8 read as latin-1": lambda text: text.encode().decode("latin-1"),
    "the same in JSON": lambda text: json.dumps(text.encode().decode("latin-1")),
    "the same in UTF-8": lambda text: go(json.dumps(text.encode().decode("latin-1"))),
}


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
def test_a_secret_is_masked_in_every_spelling_that_frameworks_write(secret, spell):
    answer = masked(f'{{"you sent": {spell(secret)} , "more": 1}}', SECRETS)
    left = answer.removeprefix('{"you sent": ').removesuffix(' , "more": 1}')
    assert left.strip("b'\"\\&quot;") == MASK


def test_a_word_of_a_value_is_masked_without_the_rest():
    assert masked("you sent abcdefgh12 only", ["Bearer abcdefgh12"]) == f"you sent {MASK} only"
    assert masked("x=abcdefgh12345678+/=", SECRETS) == f"x={MASK}"


def test_half_of_a_long_secret_is_masked_too():
    secret = "".join(random.Random(1).choices(string.ascii_letters, k=64))
    answer = masked(f"it begins with {secret[:20]}… and ends with {secret[-40:]}", [secret])
    assert answer == f"it begins with {MASK}… and ends with {MASK}"


def test_the_longer_of_two_secrets_leaves_no_rest():
    assert masked("secret-and-more", ["secret", "secret-and-more"]) == MASK


def test_secrets_side_by_side_are_one_mask_and_apart_are_two():
    assert masked("alpha-1beta-22", ["alpha-1", "beta-22"]) == MASK
    assert masked("alpha-1 beta-22", ["alpha-1", "beta-22"]) == f"{MASK} {MASK}"


def test_words_that_are_found_by_chance_stay():
    assert masked("a bad token", ["", "a", "bad"]) == "a bad token"
    page = "<p>the application/jso said 100% &amp; more + \\u0041 no"
    assert masked(page, ["application/json", "other-secret"]) == page


@pytest.mark.parametrize(
    "spell", [str, in_escapes, lambda text: json.dumps(in_escapes(text))[1:-1]]
)
@pytest.mark.parametrize("secret", ["k-99", "tok-!!!!!!!!!", "\U0001f600" * 15, "/" * 1024])
def test_a_secret_across_the_end_of_what_is_kept_is_masked(secret, spell):
    for over in (1, 2, 3):
        before = "x" * 100
        text = before + spell(secret)
        cut = 100 + max(1, len(spell(secret[:over])) - 1)
        answer = masked(text[: cut + MARGIN], [secret], cut)
        assert answer == before + MASK


def rows_of_words(length):
    letters = random.Random(2)
    word = lambda: "".join(letters.choices(string.ascii_lowercase, k=length))  # noqa: E731
    return [" ".join(word() for _ in range(1025 // (length + 1)))[:1024] for _ in range(99)]


WORDS = rows_of_words(8)
EMOJI = [chr(0x1F600 + n) for n in range(64)]
SETS = {
    "words of 8": WORDS,
    "words of 8 to 15": [
        " ".join(w[: 8 + n % 8] for n, w in enumerate(row.split())) for row in rows_of_words(15)
    ],
    "one letter": ["a" * 1000 + word for word in WORDS[0].split()[:99]],
    "words of one letter": [("a" * 9 + " ") * 100 + word for word in WORDS[0].split()[:99]],
    "emoji": ["".join(random.Random(n).choices(EMOJI, k=1024)) for n in range(99)],
    "words of emoji": [row.replace("a", "\U0001f600") for row in WORDS],
    "short": [word[: 4 + n % 5] for n, word in enumerate(WORDS[1].split()[:99])],
}
ANSWERS = {
    "<": "<" * 4608,
    "one letter and every escape": "a" * 4590 + "\\n&lt;\\n+%41",
    "all that was sent": " ".join(WORDS)[:4608],
    "the beginning of each word": "".join(w[:7] for row in WORDS for w in row.split())[:4608],
    "a block of each value": "".join(w[:8] for n in range(6) for w in WORDS[n].split())[:4608],
    "backslashes": "\\" * 4608,
    "escapes": "\\u0061" * 768,
    "escapes in escapes": "\\\\u0061" * 658,
    "half pairs": "\\ud83d" * 768,
    "bytes": "\\x61" * 1152,
    "ampersands": "&" * 4608,
    "entities": "&#97;" * 921,
    "entities that never end": "&" + "a" * 4607,
    "percent": "%61" * 1536,
    "pluses": "+" * 4608,
    "emoji": "".join(random.Random(0).choices(EMOJI, k=4608)),
    "emoji read as latin-1": ("".join(EMOJI) * 18).encode().decode("latin-1"),
    "the same in escapes": json.dumps("".join(EMOJI[:48]).encode().decode("latin-1") * 4),
    "bytes above ASCII": "\xff" * 4608,
}


@pytest.mark.parametrize("secrets", SETS.values(), ids=SETS)
@pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
def test_however_many_secrets_there_are_an_answer_is_read_in_a_moment(text, secrets):
    """At most 50 ms on a machine that has nothing else to do."""
    start = time.thread_time()
    masked(text, secrets, 4096)
    assert time.thread_time() - start < 0.5
