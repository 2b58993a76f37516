"""Clients of both doors: of Django's views alone, and of the fast one of the site."""

from functools import partial

import pytest
from django.test import override_settings

from . import CountingSite, SiteApi


@pytest.fixture(scope="module")
def sites():
    """The site with Django's door alone, and with the fast one."""
    made = {}
    for door, groups in (("django", False), ("fast", True)):
        with override_settings(GROUP_COMMIT=groups):
            made[door] = CountingSite()
    yield made
    for site in made.values():
        site._threads.shutdown()


@pytest.fixture
def open_sites(sites, transactional_db):
    yield sites
    for site in sites.values():
        site.close()


@pytest.fixture
def open_site(open_sites):
    return open_sites["fast"]


@pytest.fixture(params=["django", "fast"])
def api_with(request, open_sites):
    """Makes a client of either door, for a token."""
    return partial(SiteApi, open_sites[request.param])


@pytest.fixture
def api(api_with, secret):
    return api_with(secret)
