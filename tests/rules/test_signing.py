"""Signatures of calls: the specification's own example, and what does not pass."""

import base64
import time
from pathlib import Path

import pytest

from webhooks_app.rules import signing, validators

# The example of the Standard Webhooks specification and of its libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
IDENT, TIMESTAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
KEY = signing.key_of(SECRET)
SIGNER = signing.signer(KEY)


def signed(ident, timestamp, body):
    return signing.signature([SIGNER], ident.encode(), timestamp, body).decode()


def test_the_example_of_the_specification():
    assert signed(IDENT, TIMESTAMP, BODY) == SIGNATURE


def test_a_new_secret_is_32_random_bytes_and_none_is_like_another():
    made = {signing.new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(len(signing.key_of(secret)) == 32 for secret in made)


def encoded(length):
    return base64.b64encode(b"k" * length).decode()


@pytest.mark.parametrize("length", [24, 25, 26, 32, 64])
def test_prefix_and_padding_of_a_secret_may_be_missing(length):
    key, text = b"k" * length, encoded(length)
    for secret in (text, text.rstrip("="), f"whsec_{text}", f"whsec_{text}".rstrip("=")):
        assert signing.key_of(secret) == key
    assert signing.key_of(signing.secret_of(key)) == key


@pytest.mark.parametrize(
    "secret",
    [
        *(
            "",
            "whsec_",
            "x",
            f"whsec_{encoded(23)}",
            f"whsec_{encoded(65)}",
            "whsec_" + "A" * 10**6,
        ),
        *(
            f"whsec_{encoded(24)[:-1]}é",
            f"whsec_{encoded(24)[:-1]}\n",
            encoded(32).replace("a", "-"),
        ),
        *("whsk_" + encoded(32), "=" * 40, None, 5, b"x", ["whsec_"]),
    ],
)
def test_what_is_no_secret_is_refused_without_repeating_it(secret):
    with pytest.raises(ValueError, match="The secret must be") as refused:
        signing.key_of(secret)
    assert len(str(refused.value)) < 100


def check(*, keys=(KEY,), **changes):
    given = {
        "ident": IDENT,
        "timestamp": str(TIMESTAMP),
        "signatures": SIGNATURE,
        "body": BODY,
        "now": TIMESTAMP,
    }
    return signing.check(keys, **(given | changes))


OTHER = "v1," + base64.b64encode(b"x" * 32).decode()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"now": TIMESTAMP + 300},
        {"now": TIMESTAMP - 300},
        {"signatures": f"{OTHER} {SIGNATURE}"},
        {"signatures": f"v1a,{SIGNATURE[3:]} {SIGNATURE} v2,"},
        {"signatures": f"  {SIGNATURE}"},
        {"keys": [b"o" * 32, KEY]},
    ],
)
def test_any_signature_that_matches_will_do(changes):
    assert check(**changes) == TIMESTAMP


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"body": BODY + b" "}, "no signature matches"),
        ({"body": b""}, "no signature matches"),
        ({"ident": "msg_other"}, "no signature matches"),
        ({"timestamp": str(TIMESTAMP + 1)}, "no signature matches"),
        ({"keys": [b"o" * 32]}, "no signature matches"),
        ({"signatures": SIGNATURE.replace("v1,", "v1a,")}, "version v1"),
        ({"signatures": SIGNATURE[3:]}, "version v1"),
        ({"signatures": SIGNATURE[:-1]}, "no signature matches"),
        ({"signatures": "v1,"}, "no signature matches"),
        ({"signatures": "v1,\ud800é"}, "no signature matches"),
        ({"signatures": f"{OTHER} " * 60 + SIGNATURE}, "too long"),
        ({"signatures": "v1, " * 40 + SIGNATURE}, "no signature matches"),
        ({"now": TIMESTAMP + 301}, "301 s behind the clock"),
        ({"now": TIMESTAMP - 301}, "301 s ahead of the clock"),
        ({"timestamp": "1e9"}, "no form"),
        ({"timestamp": f"{TIMESTAMP} "}, "no form"),
        ({"timestamp": "１６１４２６５３３０"}, "no form"),
        ({"timestamp": "9" * 400}, "no form"),
        ({"ident": "a.b"}, "no form"),
        ({"ident": "a b"}, "no form"),
        ({"ident": "x" * 257}, "no form"),
        ({"ident": ""}, "not there"),
        ({"timestamp": ""}, "not there"),
        ({"signatures": ""}, "not there"),
    ],
)
def test_a_call_that_does_not_hold_is_refused_and_says_why(changes, why):
    with pytest.raises(signing.Refused, match=why):
        check(**changes)


def test_an_id_cannot_take_what_belongs_to_the_body():
    """`a.1.2` is signed the same for the id `a` at 1 and the body `2`, and for the id `a.1` …"""
    signatures = signed("a.1", 2, b"3")
    assert signatures == signed("a", 1, b"2.3")
    with pytest.raises(signing.Refused):
        signing.check([KEY], ident="a.1", timestamp="2", signatures=signatures, body=b"3", now=2)


@pytest.mark.parametrize("prefix", ["", "svix-", "acme-hooks-", "a-", "a" * 31 + "-", "x-acme-"])
def test_second_names_that_may_be_sent(prefix):
    assert validators.signature_prefix_error(prefix) == ""


@pytest.mark.parametrize(
    "prefix",
    [
        *(
            "-",
            "svix",
            "Svix-",
            "1a-",
            "a_-",
            "a -",
            "é-",
            "a" * 32 + "-",
            "a\n-",
            "svix-\n",
            None,
            5,
        ),
        *("webhook-", "webhook-x-", "x-request-", "content-", "content-x-", "proxy-", "proxy-a-"),
        *("sec-", "sec-fetch-", "ce-", "x-request-a-"),
    ],
)
def test_second_names_that_may_not(prefix):
    assert validators.signature_prefix_error(prefix)


@pytest.mark.parametrize("name", ["svix-id", "Svix-Signature", "SVIX_TIMESTAMP", "ſvix-id"])
def test_own_headers_cannot_take_the_second_names(name):
    assert "belongs to the signature" in str(validators.header_error(name, "x", prefix="svix-"))
    assert "belongs to the signature" not in str(validators.header_error(name, "x"))


def test_names_that_only_begin_alike_are_free():
    assert validators.header_error("svix-note", "x", prefix="svix-") == {}


def test_the_recipe_by_hand_in_the_docs_says_the_same():
    page = (Path(__file__).resolve().parents[2] / "docs" / "receivers.md").read_text()
    recipe = page.split("**By hand:**")[1].split("```python\n")[1].split("```")[0]
    names = {}
    exec(recipe, names)
    now = int(time.time())
    for age, changed in ((0, b""), (0, b" "), (301, b""), (-301, b"")):
        headers = {
            "webhook-id": IDENT,
            "webhook-timestamp": str(now - age),
            "webhook-signature": f"{OTHER} {signed(IDENT, now - age, BODY)}",
        }
        assert names["verified"](SECRET, headers, BODY + changed) == (not age and not changed)
