"""The page for developers names files, functions and tables that are there."""

import ast
import re
from pathlib import Path

import pytest

from tests.docs.tables import DOCS, ROOT
from tests.plugin import SAME_ON_BOTH

pytestmark = pytest.mark.once

PAGE = (DOCS / "development.md").read_text()
APP = ROOT / "webhooks_app"


def names_in(path: Path) -> set[str]:
    """What a module defines, with the methods of its classes."""
    names: set[str] = set()
    body = ast.parse(path.read_text()).body
    for node in body + [part for one in body if isinstance(one, ast.ClassDef) for part in one.body]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def test_every_function_it_names_is_there():
    named = re.findall(r"`([a-z_/]+\.py):(\w+)`", PAGE)
    assert len(named) > 30
    missing = {f"{path}:{name}" for path, name in named if name not in names_in(APP / path)}
    assert missing == set()


def test_every_file_and_package_it_names_is_there():
    named = set(re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py)?)`", PAGE))
    assert {
        path for path in named if not ((APP / path).exists() or (ROOT / path).exists())
    } == set()


def test_the_files_that_are_the_same_on_both_databases_are_there():
    assert [file for file in SAME_ON_BOTH if not (ROOT / file).exists()] == []


def test_its_layers_are_those_that_are_checked():
    rows = re.findall(r"^\| (`.+?`) \|", PAGE[: PAGE.index("## The walk")], re.M)
    told = {word.strip("`/") for row in rows for word in row.split(", ")}
    packages = {path.parent.name for path in APP.glob("*/__init__.py")}
    assert told >= packages - {"migrations", "templatetags"}
