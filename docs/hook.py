"""A hook of MkDocs: the pages at the root of the repository are pages of the site, too, and links
to them, which a forge follows as they are, lead there."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "SECURITY.md": "policy.md"}
LICENSE = re.compile(r"\[([^]]+)\]\(LICENSE\)")


def on_files(files, config):
    for name, page in PAGES.items():
        text = (ROOT / name).read_text()
        text = LICENSE.sub(r"\1", text)  # a file, and no page
        text = re.sub(r"\]\((docs/)?(?!https?:)([^)]+)\)", _from_root, text)
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    for name, target in PAGES.items():
        markdown = markdown.replace(f"](../{name}", f"]({target}")
    return markdown


def _from_root(link):
    return f"]({PAGES.get(link[2], link[2])})"
