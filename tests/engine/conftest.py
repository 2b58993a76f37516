import pytest

from webhooks_app.engine import worker


@pytest.fixture
def drain(transactional_db, loopback):
    """Run a worker until nothing is due; returns how many exchanges it made."""
    return lambda **options: worker.run(until_empty=True, **options)
