"""`oauth`, `identity` and `caCertificates` of a webhook's settings."""

from typing import Any

from ...rules import certificates, oauth
from ...rules.validators import CREDENTIAL_LIMIT, URL_LIMIT
from .. import schema
from ..fields import AsSent

OAUTH: dict[str, Any] = {
    "type": ["object", "null"],
    "description": "OAuth 2, client credentials: calls carry an access token of this server.",
    "required": ["tokenUrl", "clientId", "clientSecret"],
    "additionalProperties": False,
    "properties": {
        "tokenUrl": {
            "type": "string",
            "minLength": 1,
            "maxLength": URL_LIMIT,
            "example": "https://login.example.com/oauth/token",
        },
        "clientId": {"type": "string", "minLength": 1, "maxLength": CREDENTIAL_LIMIT},
        "clientSecret": {
            "type": "string",
            "minLength": 1,
            "maxLength": CREDENTIAL_LIMIT,
            "description": "The mask keeps the one that is stored.",
        },
        "scopes": {
            "type": "array",
            "maxItems": oauth.SCOPES_LIMIT,
            "items": {"type": "string", "minLength": 1, "maxLength": oauth.SCOPE_LIMIT},
        },
        "authMethod": {"type": "string", "enum": list(oauth.METHODS), "default": oauth.BASIC},
        "extraParams": {
            "type": "object",
            "maxProperties": oauth.PARAMS_LIMIT,
            "additionalProperties": {"type": "string", "maxLength": oauth.PARAM_LIMIT},
        },
    },
}
IDENTITY: dict[str, Any] = {
    "type": ["object", "null"],
    "description": "The client certificate that calls show; its key is never shown again.",
    "required": ["subject", "issuer", "expiresAt", "fingerprint"],
    "additionalProperties": False,
    "properties": {
        "subject": {"type": "string"},
        "issuer": {"type": "string"},
        "expiresAt": {"type": ["string", "null"], "format": "date-time"},
        "fingerprint": {"type": "string", "description": "SHA-256."},
    },
}
PEM: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": certificates.PEM_LIMIT}
AUTHORITIES: dict[str, Any] = {
    **PEM,
    "type": ["string", "null"],
    "description": "Trusted in place of the public authorities; one PEM.",
}


@schema.field(OAUTH)
class OAuthGiven(AsSent):
    pass


@schema.field(
    {
        "oneOf": [{**PEM, "description": "Private key and chain."}, IDENTITY],
        "description": "One PEM; null for none. What GET shows changes nothing.",
    }
)
class IdentityGiven(AsSent):
    pass


@schema.field(AUTHORITIES)
class AuthoritiesGiven(AsSent):
    pass
