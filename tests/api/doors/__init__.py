"""The site as a server sees it, asked as Django's test client is: for tests of both doors."""

import asyncio
import json
import re
from urllib.parse import unquote

from asgiref.sync import async_to_sync
from django.http import HttpResponse

from project.serving import Site
from tests.api.conftest import Api


class CountingSite(Site):
    """Knows how many requests Django has answered."""

    by_django = 0

    def _respond(self, scope, body, asker):
        self.by_django += 1
        return super()._respond(scope, body, asker)


class SiteApi(Api):
    """`Api`, whose requests go to the site instead of to Django's test client."""

    def __init__(self, site, secret=""):
        super().__init__(secret)
        self.site = site

    def send(self, method, path, body=None, content_type=None, **extra):
        return async_to_sync(self.asked)(method, path, body, content_type, **extra)

    async def asked(self, method, path, body=None, content_type=None, **extra):
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if content_type is None:
            content_type = "application/json" if body is not None else ""
        remote = extra.pop("REMOTE_ADDR", "127.0.0.1")
        given = {"HTTP_HOST": "testserver", "CONTENT_TYPE": content_type} | self.headers | extra
        if body:
            given["CONTENT_LENGTH"] = str(len(body))
        headers = [
            (name.removeprefix("HTTP_").replace("_", "-").lower().encode(), value.encode("latin-1"))
            for name, value in given.items()
        ]
        address, _, query = path.partition("?")
        scope = {
            **{"type": "http", "http_version": "1.1", "method": method, "scheme": "http"},
            **{"path": unquote(address), "raw_path": address.encode(), "root_path": ""},
            **{"query_string": query.encode(), "headers": headers},
            **{"client": (remote, 4711), "server": ("testserver", 80)},
        }
        return await answer_of(self.site, scope, body or b"")


async def answer_of(site, scope, body):
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    await site(scope, receive, send)
    response = HttpResponse(
        b"".join(message.get("body", b"") for message in sent), status=sent[0]["status"]
    )
    del response["Content-Type"]
    for name, value in sent[0]["headers"]:
        response[name.decode("latin-1")] = value.decode("latin-1")
    response.json = lambda: json.loads(response.content)
    return response


def together(*asked):
    """The answers to requests (`SiteApi.asked`) that are sent at once."""

    async def all_of_them():
        return await asyncio.gather(*asked)

    return async_to_sync(all_of_them)()


def told(response):
    """What an answer says, whenever it was given and whatever ids it made."""
    text = re.sub(
        r'"(id|timestamp|createdAt|dueAt|time)": ?"[^"]*"', r'"\1":""', response.content.decode()
    )
    headers = {name.lower(): value for name, value in response.items()}
    return response.status_code, text, headers
