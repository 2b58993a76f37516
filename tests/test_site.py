"""The standalone site around the app: its favicon, and what stands on standard error."""

import re

import pytest
from django.contrib.staticfiles import finders
from django.test import RequestFactory

from project.serving import TokenHandler
from tests import processes
from tests.factories import AccountFactory, UserFactory
from tests.processes import PROGRAM
from tests.waiting import PATIENCE
from webhooks_app.models import AccessToken

pytestmark = pytest.mark.once


def test_browsers_find_a_favicon_beside_any_page(client):
    response = client.get("/favicon.ico")
    assert response.status_code == 302
    assert response["Location"] == "/static/project/favicon.svg"
    assert finders.find("project/favicon.svg")


def test_every_page_of_the_admin_has_the_same_links_of_its_user(client, db):
    client.force_login(UserFactory())
    places = ("", "password_change/", "password_change/done/")
    pages = [client.get(f"/admin/{place}").content.decode() for place in places]
    links = [page.split('id="user-tools"')[1].split("</form>")[0] for page in pages]
    assert "Change password</a>" in links[0]
    assert len({re.sub('value="[^"]*"', "", one) for one in links}) == 1


BROKEN = """
import django; django.setup()
from unittest.mock import patch
from django.test import Client
client = Client(raise_request_exception=False)
with patch("project.views.render", side_effect=RuntimeError("the page broke")):
    answer = client.get(
        "/?token=planted-in-query",
        HTTP_AUTHORIZATION="Bearer planted-in-header",
        HTTP_COOKIE="sessionid=planted-in-cookie",
    )
    print(answer.status_code)
"""


def test_an_error_of_a_page_stands_on_standard_error_without_what_was_sent():
    told = processes.run([*PROGRAM, BROKEN], capture_output=True, text=True, timeout=PATIENCE)
    assert told.stdout.strip() == "500"
    assert "Traceback" in told.stderr
    assert "RuntimeError: the page broke" in told.stderr
    assert "planted" not in told.stderr


FOREIGN = """
import django; django.setup()
from django.test import Client
print(Client().get("/admin/", headers={"host": "evil.example"}).status_code)
"""


def test_a_foreign_host_is_refused_without_a_traceback():
    told = processes.run([*PROGRAM, FOREIGN], capture_output=True, text=True, timeout=PATIENCE)
    assert told.stdout.strip() == "400"
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize("host", ["testserver", "evil.example.com"])
def test_a_request_with_a_token_is_answered_alike_without_what_serves_sessions(db, client, host):
    secret = AccessToken.issue(AccountFactory())[1]
    bearer = {"HTTP_AUTHORIZATION": f"Bearer {secret}", "HTTP_HOST": host}
    through_all = client.get("/webhooks", **bearer)
    through_few = TokenHandler().get_response(RequestFactory().get("/webhooks", **bearer))
    assert through_few.status_code == through_all.status_code
    names = [response.headers.pop("X-Request-Id") for response in (through_few, through_all)]
    assert len(set(names)) == 2  # each request has one of its own
    assert through_few.headers == through_all.headers


@pytest.mark.parametrize(
    ("path", "authorization", "by_token"),
    [
        ("/webhooks", "Bearer x", True),
        ("/deliveries/1/attempts", "bearer  x", True),
        ("/webhooks", "Basic x", False),  # of a proxy in front: the session stays what counts
        ("/webhooks", "", False),
        ("/admin/", "Bearer x", False),
        ("/webhooksx", "Bearer x", False),
    ],
)
def test_only_a_bearer_token_for_the_api_goes_past_the_session(path, authorization, by_token):
    request = RequestFactory().get(path, HTTP_AUTHORIZATION=authorization)
    assert TokenHandler.serves(request) is by_token
