"""Who sends a request, before anybody has looked whether it is true."""

from typing import Any

from webhooks_app.api.authentication import bearer
from webhooks_app.limits import Scope
from webhooks_app.models.account import digest

KEPT = 10_000  # tokens


class Askers:
    """The tokens of an account are one who asks, from the first request of each on; or an account
    with some tokens would have all turns. One that is good no more is itself again: it takes
    nothing of what the others have."""

    def __init__(self) -> None:
        self._accounts: dict[str, str] = {}  # by the digest of a token

    def of(self, scope: Scope) -> str:
        """The account of a token, or the secret that is brought; else the cookies of a session. All
        strangers are one: `""`."""
        cookies = ""
        for name, value in scope["headers"]:
            if name == b"authorization":
                text = value.decode("latin-1")
                secret = bearer(text) or text
                return self._accounts.get(digest(secret), secret)
            if name == b"cookie":
                cookies = value.decode("latin-1")
        return cookies

    def note(self, secret: str, account: Any) -> None:
        """Whose a token is, as was found when it was looked for; None: nobody's."""
        if len(self._accounts) >= KEPT:
            self._accounts.clear()
        if account is None:
            self._accounts.pop(digest(secret), None)
        else:
            self._accounts[digest(secret)] = f"account {account}"
