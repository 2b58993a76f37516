import pytest

from tests.commands.conftest import site  # noqa: F401
from tests.promises.crew import Crew


@pytest.fixture
def crew(site, tmp_path):  # noqa: F811
    crew = Crew(site, tmp_path)
    yield crew
    crew.stop()
    crew.tell()


@pytest.fixture
def postgres(crew):
    """For proofs of what only PostgreSQL has: several workers at once, sessions, networks."""
    if not crew.postgres:
        pytest.skip("PostgreSQL only")
    return crew
