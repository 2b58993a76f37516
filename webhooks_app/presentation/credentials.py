"""OAuth and the client certificate of a webhook as they may be seen: no key, and a mask for each
secret unless somebody may read it. One that no key opens is shown as empty, with the mask."""

from collections.abc import Mapping
from typing import Any

from ..fields import WrongKey, is_stored
from ..models import Webhook
from ..rules import certificates, oauth
from ..rules.ids import timestamp
from ..rules.validators import MASK

_UNREADABLE = oauth.Client("", "", MASK)


def client_of(webhook: Webhook) -> oauth.Client | None:
    """None for none; what cannot be read has a mask for its secret and nothing else."""
    if not is_stored(webhook, "oauth"):
        return None
    try:
        return oauth.client(webhook.oauth)
    except (WrongKey, ValueError):
        return _UNREADABLE


def unmasked(params: Mapping[str, Any], kept: oauth.Client | None) -> dict[str, Any]:
    """Extra parameters with what is stored in place of masks."""
    stored = dict(kept.extra_params) if kept else {}
    return {
        name: stored.get(name, value) if value == MASK else value for name, value in params.items()
    }


def oauth_shown(webhook: Webhook, *, masked: bool) -> dict[str, Any] | None:
    """`settings.oauth`."""
    client = client_of(webhook)
    if client is None:
        return None
    settings = client.settings
    if masked:
        settings["clientSecret"] = MASK
        settings["extraParams"] = dict.fromkeys(settings["extraParams"], MASK)
    return settings


def certificate_of(webhook: Webhook) -> certificates.Certificate | None:
    """The one that calls show; None for none, and for one that cannot be read."""
    if not is_stored(webhook, "identity"):
        return None
    try:
        return certificates.described(webhook.identity)
    except (WrongKey, ValueError):
        return None


def identity_shown(webhook: Webhook) -> dict[str, Any] | None:
    """`settings.identity`: of one that cannot be read, masks."""
    if not is_stored(webhook, "identity"):
        return None
    found = certificate_of(webhook)
    if found is None:
        return {"subject": MASK, "issuer": MASK, "expiresAt": None, "fingerprint": MASK}
    return {
        "subject": found.subject,
        "issuer": found.issuer,
        "expiresAt": timestamp(found.ends_at),
        "fingerprint": found.fingerprint,
    }


def credentials_lines(webhook: Webhook) -> list[str]:
    """In sentences, of what there is."""
    lines = []
    if client := client_of(webhook):
        whose = f"of {client.token_url} for {client.client_id}"
        lines.append(f"Its calls carry an access token {whose if client.token_url else ''}".strip())
    if shown := identity_shown(webhook):
        ends = f", which ends {shown['expiresAt']}" if shown["expiresAt"] else ""
        lines.append(f"They show the client certificate {shown['subject']}{ends}")
    if webhook.ca_certificates:
        lines.append("Its receiver is trusted by authorities of its own")
    return [f"{line}." for line in lines]
