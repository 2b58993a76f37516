"""Every curl of the document, copied into a shell: host, token, id and url replaced."""

import json
import shutil
import subprocess

import pytest

from webhooks_app.models import Webhook

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed"),
]

LIST = """
curl --request GET \\
--url https://api.chatbot.com/webhooks \\
--header 'authorization: Bearer ${DEVELOPER_ACCESS_TOKEN}'
"""
GET = """
curl --request GET \\
--url https://api.chatbot.com/webhooks/:ID \\
--header 'authorization: Bearer ${DEVELOPER_ACCESS_TOKEN}'
"""
CREATE = """
curl --request POST \\
--url https://api.chatbot.com/webhooks \\
--header 'authorization: Bearer ${DEVELOPER_ACCESS_TOKEN}' \\
--header 'content-type: application/json' \\
--data '
{
"name": "Webhook name",
"url": "${WEBHOOK-URL}",
"token": "",
"headers": [],
"auth": {}
}
'
"""
UPDATE = """
curl --request PUT \\
--url https://api.chatbot.com/webhooks/:ID \\
--header 'authorization: Bearer ${DEVELOPER_ACCESS_TOKEN}' \\
--header 'content-type: application/json' \\
--data '
{
"name": "Webhook name",
"url": "${WEBHOOK-URL}",
"token": "",
"headers": [],
"auth": {}
}
'
"""
DELETE = """
curl --request DELETE \\
--url https://api.chatbot.com/webhooks/:ID \\
--header 'authorization: Bearer ${DEVELOPER_ACCESS_TOKEN}' \\
--header 'content-type: application/json'
"""


@pytest.fixture
def shell(live_server, secret):
    def run(command, ident="", url=""):
        for old, new in (
            ("https://api.chatbot.com", live_server.url),
            ("${DEVELOPER_ACCESS_TOKEN}", secret),
            (":ID", ident),
            ("${WEBHOOK-URL}", url),
        ):
            command = command.replace(old, new)
        done = subprocess.run(
            ["/bin/sh", "-c", command + " --silent --fail-with-body"],
            capture_output=True,
            timeout=30,
            check=True,
        )
        return json.loads(done.stdout)

    # The trailing newline of a copied command would end it before our own options.
    return lambda command, **more: run(command.strip(), **more)


def test_the_documents_curls_work_as_they_are_written(shell):
    assert shell(LIST) == []
    created = shell(CREATE, url="https://example.com/one")
    assert created["status"] == {"code": 200, "type": "success"}
    ident = created["id"]
    one = {"id": ident, "name": "Webhook name", "url": "https://example.com/one", "error": ""}
    assert shell(LIST) == [one]
    assert shell(UPDATE, ident=ident, url="https://example.com/two")["id"] == ident
    assert shell(GET, ident=ident) == {
        "id": ident,
        "name": "Webhook name",
        "url": "https://example.com/two",
        "token": "",
        "headers": [],
        "auth": {"username": "", "password": ""},
        "error": {"date": "", "message": ""},
    }
    assert shell(DELETE, ident=ident)["id"] == ident
    assert shell(LIST) == []
    assert Webhook.objects.live().count() == 0
