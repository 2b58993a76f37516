"""An authorization server on loopback, Authlib's, that knows one client.

    with AuthorizationServer(expires_in=60) as server:
        WebhookFactory(oauth=oauth.stored(server.settings))

`issued` are the tokens it gave, the newest last; `asked` the requests for one, as forms. `hold` is
set to keep callers waiting, `token_url` stays when it stops to listen (`down`).
"""

import threading
from types import SimpleNamespace

from authlib.integrations.flask_oauth2 import AuthorizationServer as Library
from authlib.oauth2.rfc6749 import ClientMixin, grants
from flask import Flask, request
from werkzeug.serving import make_server

from tests.waiting import PATIENCE


class Client(ClientMixin):
    client_id, secret = "shop", "the-secret_of.the~shop"
    scopes = ("orders", "webhooks")

    def get_client_id(self):
        return self.client_id

    def get_allowed_scope(self, scope):
        return " ".join(word for word in scope.split() if word in self.scopes)

    def check_client_secret(self, client_secret):
        return client_secret == self.secret

    def check_endpoint_auth_method(self, method, endpoint):
        return method in ("client_secret_basic", "client_secret_post")

    def check_grant_type(self, grant_type):
        return grant_type == "client_credentials"


class Grant(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]


class AuthorizationServer:
    def __init__(self, *, expires_in: int = 3600, client: type[Client] = Client) -> None:
        self.issued: list[str] = []
        self.asked: list[SimpleNamespace] = []
        self.go_on = threading.Event()
        self.go_on.set()
        app = Flask(__name__)
        app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {"client_credentials": expires_in}
        known = client()
        self._library = Library(
            app,
            query_client=lambda ident: known if ident == known.client_id else None,
            save_token=lambda token, _: self.issued.append(token["access_token"]),
        )
        self._library.register_grant(Grant)
        app.add_url_rule("/oauth/token", view_func=self._token, methods=["POST"])
        self._server = make_server("127.0.0.1", 0, app, threaded=True)
        self.client = known
        self.token_url = f"http://127.0.0.1:{self._server.server_port}/oauth/token"
        self._listens = False

    def _token(self):
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append(SimpleNamespace(form=request.form.to_dict(), headers=headers))
        self.go_on.wait(PATIENCE)
        return self._library.create_token_response()

    @property
    def settings(self):
        return {
            "tokenUrl": self.token_url,
            "clientId": self.client.client_id,
            "clientSecret": self.client.secret,
            "scopes": ["orders"],
        }

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self._listens = True
        return self

    def down(self):
        """Nobody listens any more."""
        if self._listens:
            self._listens = False
            self._server.shutdown()
            self._server.server_close()

    def __exit__(self, *exc_info):
        self.go_on.set()
        self.down()
