"""What live receivers answer, and what it means."""

import pytest

from webhooks_app.rules import responses

pytestmark = pytest.mark.once

NOTHING = {"responses": [], "attributes": {}}


@pytest.mark.parametrize(
    ("body", "meaning"),
    [
        (b"", NOTHING),
        (b"  \r\n", NOTHING),
        (b"{}", NOTHING),
        (b"null", NOTHING),
        (b"[]", NOTHING),
        (b" [ ] ", NOTHING),
        (b"\xef\xbb\xbf[]", NOTHING),
        (b"\xef\xbb\xbf", NOTHING),
        (b'{"responses": [], "attributes": []}', NOTHING),
        (b'{"responses": [], "parameters": []}', NOTHING),
        (b'{"responses": null, "attributes": [], "parameters": []}', NOTHING),
        (b'{"responses": null, "attributes": null}', NOTHING),
        (b'{"responses": []}', NOTHING),
        (b'{"ok": true, "more": [1]}', NOTHING),
        (b'\xef\xbb\xbf{"responses": []}', NOTHING),
        (b'{"attributes": {"foo": "bar"}}', {"responses": [], "attributes": {"foo": "bar"}}),
        (b'{"parameters": {"foo": "bar"}}', {"responses": [], "attributes": {"foo": "bar"}}),
        (
            b'{"attributes": {"a": 1}, "parameters": {"b": 2}}',
            {"responses": [], "attributes": {"a": 1}},
        ),
        (
            b'{"responses": [{"type": "text", "delay": 1000, "message": "Hi"}]}',
            {
                "responses": [{"type": "text", "delay": 1000, "message": "Hi"}],
                "attributes": {},
            },
        ),
        (
            b'{"responses": [{"type": "text", "elements": ["old"]}, {"type": "goto"}, 7]}',
            {
                "responses": [{"type": "text", "elements": ["old"]}, {"type": "goto"}, 7],
                "attributes": {},
            },
        ),
        (
            b'{"attributes": {"k": 1, "k": 2}}',
            {"responses": [], "attributes": {"k": 2}},
        ),
    ],
)
def test_every_odd_answer_is_a_success(body, meaning):
    assert responses.interaction(body) == meaning


def test_up_to_99_responses_are_handed_on():
    assert len(responses.interaction(b'{"responses": [' + b"1," * 98 + b"1]}")["responses"]) == 99
    with pytest.raises(ValueError, match="99"):
        responses.interaction(b'{"responses": [' + b"1," * 99 + b"1]}")


@pytest.mark.parametrize(
    "body",
    [
        b"OK",
        b"<html></html>",
        b"[{}]",
        b"[[]]",
        b'"text"',
        b"7",
        b'{"responses": {}}',
        b'{"responses": "hi"}',
        b'{"attributes": [1]}',
        b'{"parameters": "x"}',
        b"[]\xef\xbb\xbf",
        b'{"responses": [1e999]}',
        b"[" * 100_000,
        b'{"a": "\\u0000"}',
        b"\xff\xfe{\x00}\x00",
    ],
)
def test_anything_else_is_a_sentence(body):
    with pytest.raises(ValueError, match=r"\w"):
        responses.interaction(body)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"c0ffee", ""),
        (200, b"  c0ffee\r\n", ""),
        (200, b'"c0ffee"', ""),
        (200, b"\xef\xbb\xbfc0ffee\n", ""),
        (200, b'\xef\xbb\xbf "c0ffee"', ""),
        (200, b'"\\u00630ffee"', ""),
        (200, b'"' + b"\\n" * 50_000 + b'c0ffee"', "v_body"),
        (200, b"c0ffee2", "v_body"),
        (200, b"", "v_body"),
        (200, b"'c0ffee'", "v_body"),
        (200, b"<p>c0ffee</p>", "v_body"),
        (200, b'["c0ffee"]', "v_body"),
        (200, b'"' + b"[" * 5000, "v_body"),
        (200, b"\xff\xfe", "v_body"),
        (201, b"c0ffee", "v_body"),
        (204, b"", "v_body"),
        (401, b"", "v_401"),
        (403, b"c0ffee", "v_401"),
        (404, b"", "v_404"),
        (405, b"", "v_404"),
        (301, b"", "redirect"),
        (410, b"", "gone"),
        (500, b"c0ffee", "http_500"),
    ],
)
def test_a_verification_passes_by_the_challenge_alone(status, body, kind):
    failure = responses.verification(status, body, "c0ffee")
    assert (failure.kind if failure else "") == kind
