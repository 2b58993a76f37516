import json

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from tests.factories import UserFactory
from webhooks_app.models import AccessToken


class Api:
    """An API client with a token: what it sends is JSON, what it returns is the response."""

    def __init__(self, secret: str = "") -> None:
        self.client = Client()
        self.headers = {"HTTP_AUTHORIZATION": f"Bearer {secret}"} if secret else {}

    def send(self, method, path, body=None, content_type=None, **extra):
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if content_type is None:
            content_type = "application/json" if body is not None else ""
        return self.client.generic(
            method, path, body or b"", CONTENT_TYPE=content_type, **self.headers, **extra
        )

    def get(self, path, **extra):
        return self.send("GET", path, **extra)

    def post(self, path, body=None, **extra):
        return self.send("POST", path, body, **extra)

    def put(self, path, body=None, **extra):
        return self.send("PUT", path, body, **extra)

    def patch(self, path, body=None, **extra):
        return self.send("PATCH", path, body, **extra)

    def delete(self, path, **extra):
        return self.send("DELETE", path, **extra)


@pytest.fixture
def api(secret):
    """A client whose token may manage the account `acme`."""
    return Api(secret)


@pytest.fixture
def api_for():
    """Makes a client for an account: `api_for(account, scope="read")`."""

    def make(account, scope="manage", **more):
        return Api(AccessToken.issue(account, scope=scope, **more)[1])

    return make


@pytest.fixture
def browser(account):
    """The session of a member with every permission of the app."""
    user = UserFactory()
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="webhooks_app"))
    account.members.add(user)
    api = Api()
    api.client.force_login(user)
    return api


@pytest.fixture
def anonymous(db):
    return Api()


DOCUMENTED = {
    "name": "Webhook name",
    "url": "https://receiver.example.com/hook",
    "token": "",
    "headers": [],
    "auth": {},
}
FULL = {
    "name": "Webhook example",
    "url": "https://receiver.example.com/hook?a=b%20c",
    "token": "qwerty",
    "headers": [
        {"name": "X-Api-Key", "value": "k-1"},
        {"name": "X-Twice", "value": "first"},
        {"name": "X-Twice", "value": "second"},
    ],
    "auth": {"username": "user", "password": " pass word "},
}


def problem(response, status):
    """The `status` of the error envelope, after looking at every part of it."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/json"
    body = response.json()
    assert set(body) == {"timestamp", "status"}
    assert set(body["status"]) - {"details"} == {"code", "type", "message"}
    assert body["status"]["code"] == status
    assert body["status"]["type"] == "error"
    assert body["status"]["message"]
    return body["status"]
