import pytest

from webhooks_app.rules.safe_text import JOINERS, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("Grüße, 你好, שלום, 10\u00a0€ 👍🏽", "Grüße, 你好, שלום, 10\u00a0€ 👍🏽"),
        ("\x1b[2J", "\\u001b[2J"),
        ("a\0b\x7f\x9b", "a\\u0000b\\u007f\\u009b"),
        ("safe\u202egpj.exe", "safe\\u202egpj.exe"),
        ("\u2066a\u2069\u200e\u061c", "\\u2066a\\u2069\\u200e\\u061c"),
        ("one\ntwo\r\tthree", "one\\u000atwo\\u000d\\u0009three"),
        ("line\u2028next\u2029", "line\\u2028next\\u2029"),
        ("\ufeff{}\u200b\u00ad", "\\ufeff{}\\u200b\\u00ad"),
        ("tag\U000e0041", "tag\\udb40\\udc41"),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_what_acts_is_shown_and_what_is_text_stays(text, expected):
    assert shown(text) == expected


def test_what_is_kept_stays():
    text = "می\u200cخواهم\n\t👨\u200d👩\u200d👧\u202e"
    assert shown(text, keep="\n\t" + JOINERS) == text.replace("\u202e", "\\u202e")
