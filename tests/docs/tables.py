"""The tables of docs/ that the code fills: `python -m tests.docs.tables` writes them anew."""

import os
import re
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MARKED = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)


def settings() -> str:
    from webhooks_app import conf

    rows = [("name", "Python type", "default", "meaning")]
    for name, setting in conf.SETTINGS.items():
        default = setting.default
        if default == "":
            shown = '`""`'
        elif isinstance(default, tuple):
            shown = f"`[{', '.join(map(str, default))}]`"
        else:
            shown = f"`{default}`"
        meaning = setting.meaning.replace(", comma-separated", "")
        rows.append((f"`{name}`", f"`{setting.type}`", shown, meaning))
    return _table(rows)


def kinds() -> str:
    from webhooks_app.rules.failures import KINDS

    rows = [("kind", "name", "why", "what to do")]
    rows += [(f"`{key}`", kind.title, kind.why, kind.advice) for key, kind in KINDS.items()]
    return _table(rows)


def _table(rows: list[tuple[str, ...]]) -> str:
    first, *others = (
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows
    )
    return "\n".join([first, f"|{' --- |' * len(rows[0])}", *others]) + "\n"


TABLES: dict[str, Callable[[], str]] = {"settings": settings, "kinds": kinds}


def filled(text: str) -> str:
    """A page with its tables as the code says them."""
    return MARKED.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[4]}", text)


def main() -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    os.environ.update(DEBUG="true", DJANGO_ENV_FILE=os.devnull)
    django.setup()
    for page in DOCS.glob("*.md"):
        text = page.read_text()
        if (written := filled(text)) != text:
            page.write_text(written)
            print(f"{page.name}: written")


if __name__ == "__main__":
    main()
