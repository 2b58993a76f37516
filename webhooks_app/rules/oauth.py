"""OAuth 2, client credentials (RFC 6749, section 4.4): what the settings of a webhook hold, what is
sent to its authorization server, what the answer says.
"""

import base64
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote_plus, urlencode

from . import strictjson
from .guard import Network
from .nearest import unknown_keys
from .validators import CREDENTIAL_LIMIT, secret_error, text_error, url_error

BASIC, POST = "clientSecretBasic", "clientSecretPost"
METHODS = (BASIC, POST)
FIELDS = ("tokenUrl", "clientId", "clientSecret", "scopes", "authMethod", "extraParams")
OUR_PARAMS = frozenset({"grant_type", "client_id", "client_secret", "scope"})
SCOPES_LIMIT = 100
SCOPE_LIMIT = 256
PARAMS_LIMIT = 20
PARAM_NAME_LIMIT = 128
PARAM_LIMIT = 1024

ANSWER_LIMIT = 64 * 1024  # bytes
TOKEN_LIMIT = 8 * 1024
SECONDS_UNSAID = 3600.0  # that a token lives where the answer does not say
SECONDS_MOST = 365 * 86_400.0

_SCOPE = re.compile(r"[!#-\[\]-~]+\Z")  # RFC 6749, section 3.3
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*\Z")  # RFC 7235, section 2.1
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_NUMBER = re.compile(r"[0-9]{1,10}\Z")


@dataclass(frozen=True, slots=True)
class Client:
    """`settings.oauth` of a webhook."""

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scopes: tuple[str, ...] = ()
    auth_method: str = BASIC
    extra_params: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Of settings in which `errors` finds none."""
        return cls(
            settings["tokenUrl"],
            settings["clientId"],
            settings["clientSecret"],
            tuple(settings.get("scopes", ())),
            settings.get("authMethod", BASIC),
            tuple(settings.get("extraParams", {}).items()),
        )

    @property
    def settings(self) -> dict[str, Any]:
        values = (self.token_url, self.client_id, self.client_secret, list(self.scopes))
        return dict(zip(FIELDS, (*values, self.auth_method, dict(self.extra_params)), strict=True))

    def form(self) -> bytes:
        """The body of a request for a token."""
        fields = [("grant_type", "client_credentials"), *self.extra_params]
        if self.scopes:
            fields.append(("scope", " ".join(self.scopes)))
        if self.auth_method == POST:
            fields += [("client_id", self.client_id), ("client_secret", self.client_secret)]
        return urlencode(fields).encode("ascii")

    def authorization(self) -> str:
        """Its header `Authorization`; `""` for none. Both parts are encoded as in a form (section
        2.3.1)."""
        if self.auth_method == POST:
            return ""
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self.client_secret)}"
        return "Basic " + base64.b64encode(pair.encode()).decode("ascii")

    @property
    def secrets(self) -> tuple[str, ...]:
        """What an answer may not hold when it is kept."""
        sent = self.authorization().removeprefix("Basic ")
        values = (value for _, value in self.extra_params)
        return tuple(filter(None, (self.client_secret, sent, *values)))


def stored(settings: Mapping[str, Any] | None) -> str:
    """As a webhook keeps it: JSON, `""` for none."""
    return json.dumps(Client.of(settings).settings, ensure_ascii=False) if settings else ""


def client(text: str) -> Client | None:
    """What is stored; None for none. Raises ValueError for what we never store."""
    if not text:
        return None
    try:
        return Client.of(json.loads(text))
    except (KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("the OAuth settings cannot be read") from None


def errors(
    settings: object,
    *,
    allowed: Iterable[Network],
    require_https: bool,
    ports: Collection[int] = (),
) -> Any:
    """Everything wrong with `settings.oauth`, by field; `{}` for nothing."""
    if not isinstance(settings, Mapping):
        return ["Must be an object, or null."]
    details: dict[str, Any] = dict(unknown_keys(settings, FIELDS, "setting"))
    url = url_error(
        settings.get("tokenUrl", ""), allowed=allowed, require_https=require_https, ports=ports
    )
    secret = settings.get("clientSecret", "")
    found = {
        "tokenUrl": url,
        "clientId": text_error(settings.get("clientId", ""), "The id", 1, CREDENTIAL_LIMIT),
        "clientSecret": secret_error(secret, "The secret", CREDENTIAL_LIMIT)
        or ("" if secret else "Enter the secret of the client."),
        "scopes": _scopes_error(settings.get("scopes", [])),
        "authMethod": ""
        if settings.get("authMethod", BASIC) in METHODS
        else f"Must be one of: {', '.join(METHODS)}.",
    }
    details |= {name: [problem] for name, problem in found.items() if problem}
    if problems := _params_errors(settings.get("extraParams", {})):
        details["extraParams"] = problems
    return details


def _scopes_error(scopes: object) -> str:
    if not isinstance(scopes, list | tuple):
        return "Must be a list of texts."
    if len(scopes) > SCOPES_LIMIT:
        return f"There can be at most {SCOPES_LIMIT} scopes."
    for scope in scopes:
        if error := text_error(scope, "A scope", 1, SCOPE_LIMIT):
            return error
        if not _SCOPE.match(scope):
            return 'A scope is letters, digits and signs, without spaces, " and \\.'
    return ""


def _params_errors(params: object) -> Any:
    if not isinstance(params, Mapping):
        return ["Must be an object of texts."]
    if len(params) > PARAMS_LIMIT:
        return [f"There can be at most {PARAMS_LIMIT} extra parameters."]
    problems = {}
    for name, value in params.items():
        error = text_error(name, "The name", 1, PARAM_NAME_LIMIT)
        if not error and name in OUR_PARAMS:
            error = f"{name} is set from the other settings."
        error = error or secret_error(value, "The value", PARAM_LIMIT)
        if error:
            problems[str(name)[:PARAM_NAME_LIMIT]] = [error]
    return problems


# --- what the authorization server answers ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, and how long it holds."""

    text: str = field(repr=False)
    seconds: float


def read_token(body: bytes) -> Token:
    """Of an answer that says success (section 5.1). Raises ValueError with a sentence that holds
    nothing of it."""
    if len(body) > ANSWER_LIMIT:
        raise ValueError("the answer has more than 64 KiB")
    try:
        answer = strictjson.loads(body, unique=False)
    except ValueError:
        raise ValueError("the answer is no JSON") from None
    if not isinstance(answer, dict):
        raise ValueError("the answer is no JSON object")
    token = answer.get("access_token")
    if not isinstance(token, str) or not token:
        raise ValueError("the answer holds no access_token")
    if len(token) > TOKEN_LIMIT or not _TOKEN68.match(token):
        raise ValueError("its access_token cannot be sent: it is not token68 of at most 8 KiB")
    kind = answer.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise ValueError("its token_type is not Bearer")
    return Token(token, _seconds(answer.get("expires_in")))


def _seconds(said: object) -> float:
    if isinstance(said, str) and _NUMBER.match(said):
        said = int(said)
    if isinstance(said, bool) or not isinstance(said, int | float):
        return SECONDS_UNSAID
    return float(min(max(said, 0), SECONDS_MOST))


def error_word(body: bytes) -> str:
    """The word for what went wrong (section 5.2: `invalid_client` …), `""` for none."""
    if len(body) > ANSWER_LIMIT:
        return ""
    try:
        answer = strictjson.loads(body, unique=False)
    except ValueError:
        return ""
    word = answer.get("error") if isinstance(answer, dict) else None
    return word if isinstance(word, str) and _WORD.match(word) else ""
