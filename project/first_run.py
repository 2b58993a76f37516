"""What `manage.py quickstart` needs before the settings can be read: two keys and the loopback.

Standard library only, and nothing of Django: `manage.py` calls it before Django starts.
"""

import base64
import os
import secrets
from pathlib import Path

LOOPBACK = "127.0.0.0/8,::1/128"


def env_path() -> Path:
    """The file that `project/settings.py` reads."""
    default = Path(__file__).resolve().parent.parent / ".env"
    return Path(os.environ.get("DJANGO_ENV_FILE", default))


def prepare() -> None:
    """Write the keys into `.env` once and allow this process (and its children) the loopback."""
    path = env_path()
    if path.is_file() or not path.exists():
        write_missing(path)
    os.environ["WEBHOOKS_ALLOWED_NETWORKS"] = LOOPBACK


def write_missing(path: Path) -> None:
    """Append what is set neither in the environment nor in the file; mode 600 from the start."""
    text = path.read_text(encoding="utf-8-sig") if path.exists() else ""
    there = names_in(text) | set(os.environ)
    fresh = {
        "SECRET_KEY": secrets.token_urlsafe(50),
        "WEBHOOKS_ENCRYPTION_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    }
    added = [f"{name}={value}\n" for name, value in fresh.items() if name not in there]
    if not added:
        return
    if text and not text.endswith("\n"):
        added.insert(0, "\n")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("".join(added))


def names_in(text: str) -> set[str]:
    """What a file `.env` sets."""
    lines = (line.lstrip().removeprefix("export ") for line in text.splitlines())
    return {line.partition("=")[0].strip() for line in lines}
