import pytest

from webhooks_app.rules import subscriptions

pytestmark = pytest.mark.once

EIGHT = "a.b.c.d.e.f.g.h"


@pytest.mark.parametrize("name", ["order", "order.paid", "Order_2-x.V2", EIGHT, "a" * 128, "-._.-"])
def test_types(name):
    assert subscriptions.event_type(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "a.", ".a", "a..b", "a b", "a.b\n", "a/b", "é", "ａ", "a.*", "*", "a" * 129),
        *(f"{EIGHT}.i", "a." * 10**6, None, 5, b"a", ["a"], True),
    ],
)
def test_what_is_no_type_is_refused_with_its_form(name):
    with pytest.raises(ValueError, match=r"at most 8 words of letters") as refused:
        subscriptions.event_type(name)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "text", ["*", "order", "order.paid", "order.*", "a.b.c.d.e.f.g.*", EIGHT, "a" * 128 + ".*"]
)
def test_patterns(text):
    assert subscriptions.pattern(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "**", "*.*", ".*", "*.a", "a*", "a.*.b", "a.**", "a.*.*", "order.*\n", "a..*", "*."),
        *(f"{EIGHT}.*", "a" * 129 + ".*", None, 5, ["*"]),
    ],
)
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(ValueError, match="a star stands nowhere else"):
        subscriptions.pattern(text)


@pytest.mark.parametrize("text", ["eu", "owner:42", "a+b", "1.2_3-4", "x" * 128])
def test_channels(text):
    assert subscriptions.channel(text) == text


@pytest.mark.parametrize("text", ["", "a b", "a/b", "é", "*", "x" * 129, "a\n", None, 5])
def test_what_is_no_channel_is_refused(text):
    with pytest.raises(ValueError, match="Must be 1 to 128 characters"):
        subscriptions.channel(text)


@pytest.mark.parametrize(
    ("name", "patterns"),
    [
        ("order", ("order", "*")),
        ("order.paid", ("order.paid", "order.*", "*")),
        ("a.b.c", ("a.b.c", "a.b.*", "a.*", "*")),
    ],
)
def test_the_patterns_that_cover_a_type(name, patterns):
    assert subscriptions.lookups(name) == patterns


def test_what_covers_a_type_is_at_most_ten_patterns_and_each_is_one():
    found = subscriptions.lookups(EIGHT)
    assert len(found) == len(set(found)) == 9
    assert [subscriptions.pattern(each) for each in found] == list(found)


def test_a_prefix_covers_what_is_below_it_and_neither_itself_nor_what_begins_alike():
    assert "order.*" not in subscriptions.lookups("order")
    assert "order.*" not in subscriptions.lookups("orders.paid")
    assert "order.*" in subscriptions.lookups("order.paid.late")
