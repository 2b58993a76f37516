"""The pages say what the code does: each setting, verb, error kind, metric, call and field."""

import argparse
import json
import pkgutil
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from django.core.management import load_command_class
from rest_framework.serializers import BaseSerializer

from tests.docs.tables import DOCS, ROOT, filled
from webhooks_app import actions, conf, urls, urls_events
from webhooks_app.api import serializers
from webhooks_app.roles import VERBS
from webhooks_app.rules.failures import KINDS
from webhooks_app.rules.filters import Budget, compile_filter

pytestmark = pytest.mark.once

PAGES = sorted(DOCS.glob("*.md"))


def words(name: str) -> set[str]:
    """What a page sets in code."""
    text = (DOCS / name).read_text()
    found = re.findall(r"`+([^`]+)`+", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return {word for code in found for word in re.findall(r"[A-Za-z0-9_.:/-]+", code)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_its_tables_are_those_of_the_code(page):
    assert filled(page.read_text()) == page.read_text(), "python -m tests.docs.tables"


def test_every_setting_is_told_and_no_other():
    site = (ROOT / "project/settings.py").read_text()
    read = re.findall(r'(?:env\.\w+\(|read\([\w.]+, |environ\.get\()"([A-Z][A-Z_]+)"', site)
    told = set(re.findall(r"^\| `([A-Z_]+)` \|", (DOCS / "settings.md").read_text(), re.M))
    assert told == {*conf.SETTINGS, *read}


def test_no_page_names_a_setting_that_is_none():
    named = {
        name
        for page in [*PAGES, ROOT / "README.md", *ROOT.glob("docs/examples/*.md")]
        for name in re.findall(r"WEBHOOKS_[A-Z_]*[A-Z]", page.read_text())
    }
    assert named - {"WEBHOOKS_KEY"} <= set(conf.SETTINGS)  # a variable of the reader's own


def test_every_type_of_a_setting_reads_its_default():
    for setting in conf.SETTINGS.values():
        default = setting.default
        kind = list if isinstance(default, tuple) else type(default)
        assert setting.type.partition("[")[0] == kind.__name__
        setting.read(list(default) if kind is list else default)


def parsers():
    parser = load_command_class("webhooks_app", "webhooks").create_parser("manage.py", "webhooks")
    [verbs] = [
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    return verbs.choices


def test_every_verb_is_told_with_its_options_and_no_other():
    page = (DOCS / "operations.md").read_text()
    table = page[page.index("| verb |") : page.index("Stop a worker")]
    rows = dict(re.findall(r"^\| `([a-z-]+).*?(\|.*)$", table, re.M))
    choices = parsers()
    assert set(rows) == set(choices)
    for verb, parser in choices.items():
        for action in parser._actions:
            option = action.option_strings[-1] if action.option_strings else ""
            if action.help is argparse.SUPPRESS or option in ("", "--help", "--json"):
                continue
            row = next(line for line in table.splitlines() if line.startswith(f"| `{verb}"))
            assert option in row, (verb, option)


def test_the_example_of_every_verb_is_one():
    for verb, parser in parsers().items():
        command, _, example = parser.epilog.partition(f" {verb} ")
        assert command == "Example: manage.py webhooks"
        parser.parse_args(shlex.split(example))


def test_every_error_kind_is_told():
    assert set(re.findall(r"^\| `(\w+)`", (DOCS / "errors.md").read_text(), re.M)) == set(KINDS)


def test_every_metric_is_told_and_no_other():
    site = (ROOT / "webhooks_app/api/metrics.py").read_text()
    process = (ROOT / "webhooks_app/engine/metrics_port.py").read_text()
    made = re.findall(r'yield (?:gauge|by)\(\s*"(\w+)"', site)
    made += re.findall(r'(?:Gauge|Histogram)MetricFamily\(\s*"webhooks_(\w+)"', site + process)
    totals = re.findall(r'yield counter\(\s*"(\w+)"', site)
    totals += re.findall(r'CounterMetricFamily\(\s*"webhooks_(\w+)"', site + process)
    made += [f"{name}_total" for name in totals]
    told = {word for word in words("operations.md") if re.match(r"webhooks_\w*[a-z]$", word)}
    assert told == {f"webhooks_{name}" for name in made}


def test_every_field_of_the_api_is_told():
    told = words("api.md")
    missing = set()
    for found in pkgutil.iter_modules(serializers.__path__, f"{serializers.__name__}."):
        module = import_module(found.name)
        for shape in vars(module).values():
            if not (isinstance(shape, type) and issubclass(shape, BaseSerializer)):
                continue
            if shape.__module__ == module.__name__:
                missing |= {name for name in shape().fields if name not in told}
    blocks = "".join(re.findall(r"```json\n(.*?)```", (DOCS / "api.md").read_text(), re.DOTALL))
    assert {name for name in missing if f'"{name}"' not in blocks} == set()


def test_every_call_of_the_api_is_told():
    page = (DOCS / "api.md").read_text()
    for pattern in (*urls.urlpatterns, *urls_events.urlpatterns):
        if pattern.name is None:
            continue
        route = "/" + str(pattern.pattern).replace("<str:id>", ":id")
        for method in set(pattern.callback.actions) - {"head"}:
            told = re.search(
                rf"`(?:[A-Z]+`, `)*{method.upper()}(?:`, `[A-Z]+)* {re.escape(route)}`", page
            )
            assert told, f"{method.upper()} {route}"


def test_every_verb_of_python_is_told():
    told = words("django.md")
    public = {name for name in VERBS if hasattr(actions, name)} | {"hold_reason", "replayable"}
    assert {name for name in public if name not in told} == set()


def test_every_check_is_told_and_no_other():
    source = (ROOT / "webhooks_app/checks.py").read_text()
    told = {word for word in words("django.md") if re.fullmatch(r"webhooks_app\.[EWI]\d{3}", word)}
    assert told == set(re.findall(r"webhooks_app\.[EWI]\d{3}", source))


def test_the_filter_that_is_shown_takes_the_payload_beside_it():
    blocks = re.findall(r"```json\n(.*?)```", (DOCS / "filters.md").read_text(), re.DOTALL)
    shown, payload = map(json.loads, blocks[:2])
    assert compile_filter(shown).matches(payload, Budget())
    for name in payload:  # and each of its parts matters
        less = {field: value for field, value in payload.items() if field != name}
        assert not compile_filter(shown).matches(less, Budget())


def test_the_pages_are_in_the_navigation():
    navigation = Path(ROOT / "mkdocs.yml").read_text()
    assert [page.name for page in PAGES if page.name not in navigation] == []


def test_every_variable_of_the_looks_is_told_and_no_other():
    told = set(re.findall(r"`(--wh-[a-z0-9-]+)`", (DOCS / "console.md").read_text()))
    styles = (ROOT / "webhooks_app" / "static" / "webhooks_app" / "tokens.css").read_text()
    assert told == set(re.findall(r"(--wh-[a-z0-9-]+):", styles))


def test_every_picture_is_there_and_shown():
    """Pictures are large: none lies about that no page shows."""
    shown = set(re.findall(r"\]\(docs/(images/[^)]+)\)", (ROOT / "README.md").read_text()))
    for page in PAGES:
        shown |= set(re.findall(r"\]\((images/[^)]+)\)", page.read_text()))
    there = {path for path in (DOCS / "images").rglob("*") if path.is_file()}
    assert shown == {str(path.relative_to(DOCS)) for path in there}
    assert sum(path.stat().st_size for path in there) < 2_000_000
