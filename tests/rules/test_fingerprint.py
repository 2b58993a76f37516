import re

import pytest

from webhooks_app.rules.fingerprint import blanked, pattern, start

SORTS = {
    "connect ECONNREFUSED …": [
        "connect ECONNREFUSED 10.1.2.3:8443",
        "connect ECONNREFUSED 93.184.216.34:443",
        "connect ECONNREFUSED [2001:db8::1]:443",
    ],
    "timeout of … exceeded": ["timeout of 10000ms exceeded", "timeout of 500ms exceeded"],
    "order … (…) is unknown": [
        "order 65f0c1d2a3b4c5d6e7f80912 (no-4711) is unknown",
        "order 7 (…) is unknown",
    ],
    "getaddrinfo ENOTFOUND shop.example": ["getaddrinfo ENOTFOUND shop.example"],
    "a.b*c? [x] $ \\ {…}": ["a.b*c? [x] $ \\ {3}"],
    "": [""],
}


@pytest.mark.parametrize("sort", SORTS)
def test_messages_that_differ_in_numbers_addresses_and_ids_are_of_one_sort(sort):
    for message in SORTS[sort]:
        assert blanked(message) == sort
        assert blanked(sort) == sort
        assert message.startswith(start(sort))


@pytest.mark.parametrize("sort", SORTS)
def test_the_pattern_of_a_sort_finds_its_messages_and_no_others(sort):
    for other, messages in SORTS.items():
        for message in [*messages, *(f"{message} x" for message in messages)]:
            found = bool(re.search(pattern(sort), message))
            assert found == (blanked(message) == sort), (message, other)


@pytest.mark.parametrize("text", ["…a…a…", "……", "port 80", "x…"])
def test_what_no_message_becomes_has_no_pattern(text):
    with pytest.raises(ValueError, match=re.escape(text)):
        pattern(text)
