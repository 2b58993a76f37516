"""Whatever text from outside is made to look like, reading it costs what its length is worth."""

import ast
import re
from argparse import ArgumentTypeError
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest

from tests.security.outside import Reader, findings
from tests.security.readers import READERS
from webhooks_app.actions import ActionError
from webhooks_app.api.errors import Problem
from webhooks_app.limits import Refused
from webhooks_app.models.delivery import DeliveryQuerySet

ROOT = Path(__file__).parents[2]
KIB = 1024


@pytest.fixture
def no_database(monkeypatch):
    """What is looked for is judged first; looking is the database's."""
    monkeypatch.setattr(DeliveryQuerySet, "exists", lambda rows: False)


@pytest.mark.once
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_reading_costs_what_the_length_is_worth(reader, no_database):
    assert findings(reader, 8 * KIB) == []


SAYS_NO = (ValueError, Problem, ActionError, Refused, ArgumentTypeError)


@pytest.mark.once
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_each_is_really_asked(reader, no_database):
    for frame, text in product(reader.frames, ("abc", "12", " ", "é")):
        with suppress(*SAYS_NO):
            reader.read(frame.replace("{}", text))


@pytest.mark.prove
@pytest.mark.once
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_mebibyte_of_anything_costs_little(reader, no_database):
    assert findings(reader, 1024 * KIB) == []


OLD_BEARER = re.compile(r"bearer(?: +(?P<secret>.*?))? *\Z")


@pytest.mark.once
def test_a_reader_that_takes_the_square_is_found_and_one_that_does_not_is_not():
    assert findings(Reader("the square", OLD_BEARER.match, ("bearer x{}",)), 8 * KIB)
    assert findings(Reader("dear", lambda text: sum(map(ord, text * 300))), 2 * KIB)
    assert findings(Reader("cheap", len), 1024 * KIB) == []


# Where a regular expression may stand beside the modules of the table.
NO_READERS = {
    "webhooks_app.admin.home": "a sentence of ours, of which a list says less",
    "webhooks_app.models.account": "the form of a name, as the database checks it: bounded",
    "webhooks_app.admin.attempts": "rules.fingerprint has made and measured it",
    "webhooks_app.urls": "every other path below ours: it looks at none of its characters",
    "webhooks_app.urls_events": "likewise",
    "webhooks_app.engine.http.message": "the last look at a request line, made of what was judged",
}


def regular_expressions(source: str) -> list[int]:
    """The lines of a module in which one is made or used."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names) if {"re", "regex"} & {name.name for name in names}:
                found.append(node.lineno)
            case ast.ImportFrom(module="re" | "regex"):
                found.append(node.lineno)
            case ast.Name(id="RegexValidator" | "RegexField" | "re_path" | "RegexURLResolver"):
                found.append(node.lineno)
            case ast.keyword(arg=str(name)) if name.endswith(("__regex", "__iregex")):
                found.append(node.value.lineno)
            case ast.Constant(value=str(text)) if text.endswith(("__regex", "__iregex")):
                found.append(node.lineno)
    return found


@pytest.mark.once
def test_a_regular_expression_stands_in_the_modules_of_the_table_alone():
    known = {module for reader in READERS for module in reader.modules} | set(NO_READERS)
    with_one = {}
    for package in ("webhooks_app", "project"):
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            lines = regular_expressions(path.read_text())
            if lines and ".migrations." not in module:
                with_one[module] = lines
    assert {name: lines for name, lines in with_one.items() if name not in known} == {}
    assert known <= set(with_one), "no longer needed in the table"


@pytest.mark.once
def test_the_lint_sees_every_spelling():
    for source in (
        "import re",
        "import re as r",
        "from re import compile",
        "x = RegexValidator('a')",
        "rows.filter(name__regex='a')",
        "Q(('name__iregex', 'a'))",
        "re_path('a', view)",
    ):
        assert regular_expressions(source), source
    assert regular_expressions("import requests") == []
