import pytest

from tests.factories import AccountFactory
from webhooks_app.models import AccessToken


@pytest.fixture
def account(db):
    return AccountFactory(name="acme")


@pytest.fixture
def secret(account):
    """A developer access token of `account` with the scope manage, in clear."""
    return AccessToken.issue(account)[1]


@pytest.fixture
def loopback(settings):
    """Receivers of the tests live on loopback, which no installation may reach by default."""
    settings.WEBHOOKS_ALLOWED_NETWORKS = ["127.0.0.0/8", "::1/128"]
