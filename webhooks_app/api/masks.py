"""Secrets that are sent back as the mask they were shown as."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from ..fields import is_stored
from ..models import Header, Webhook
from ..presentation.credentials import client_of, identity_shown, oauth_shown, unmasked
from ..rules.validators import MASK, parse_url
from .errors import invalid

ANEW = "The secret goes to the origin it was saved with: to change it, enter the secrets anew."
ANEW_IN_SETTINGS = (
    "It goes to the origin it was saved with: remove it in the settings, change the URL, then "
    "enter it anew."
)


def changes(sent: dict[str, Any], webhook: Webhook | None, *, masked: bool) -> dict[str, Any]:
    """Arguments of `actions.create_webhook` or `update_webhook` for a body that was sent.

    The exact mask keeps the stored value: token and password by field, header values by name, the
    n-th of the same name. A mask with nothing behind it stays, and the verb refuses it. Who is
    `masked` cannot send kept secrets to another origin (Problem 400).
    """
    found: dict[str, Any] = {
        field: sent[field] for field in ("name", "url", "token") if field in sent
    }
    if webhook is not None and found.get("token") == MASK and webhook.token:
        found["token"] = webhook.token
    if "auth" in sent:
        password = sent["auth"].get("password", "")
        if webhook is not None and password == MASK and webhook.auth_password:
            password = webhook.auth_password
        found["auth_username"] = sent["auth"].get("username", "")
        found["auth_password"] = password
    if "headers" in sent:
        found["headers"] = list(_headers(sent["headers"], webhook))
    if masked and webhook is not None and _changes_origin(found, webhook):
        kept = _kept(sent, webhook)
        if kept:
            raise invalid({field: [ANEW] for field in kept})
        own = [name for name in ("oauth", "identity") if is_stored(webhook, name)]
        if own:
            raise invalid({name: [ANEW_IN_SETTINGS] for name in own})
    return found


def credentials(sent: dict[str, Any], webhook: Webhook, *, masked: bool) -> dict[str, Any]:
    """The same for `oauth`, `identity` and `caCertificates` of the settings: arguments of
    `actions.update_webhook`. What GET answers changes nothing."""
    found: dict[str, Any] = {}
    if "oauth" in sent and sent["oauth"] != oauth_shown(webhook, masked=masked):
        found["oauth"] = _oauth(sent["oauth"], webhook, masked)
    if "identity" in sent and sent["identity"] != identity_shown(webhook):
        found["identity"] = sent["identity"]
    if "caCertificates" in sent and sent["caCertificates"] != (webhook.ca_certificates or None):
        found["ca_certificates"] = sent["caCertificates"]
    return found


def _oauth(given: Any, webhook: Webhook, masked: bool) -> Any:
    kept = client_of(webhook)
    if not isinstance(given, dict) or kept is None:
        return given
    given, masks = dict(given), []
    if given.get("clientSecret") == MASK:
        given["clientSecret"] = kept.client_secret
        masks.append("clientSecret")
    params = given.get("extraParams")
    if isinstance(params, dict) and MASK in params.values():
        given["extraParams"] = unmasked(params, kept)
        masks.append("extraParams")
    if masked and masks and _moves(kept.token_url, given.get("tokenUrl")):
        raise invalid({"oauth": {name: [ANEW] for name in masks}})
    return given


def _headers(sent: list[dict[str, Any]], webhook: Webhook | None) -> Iterator[tuple[Any, Any]]:
    stored: dict[str, list[Header]] = defaultdict(list)
    for header in webhook.headers.all() if webhook is not None else ():
        stored[header.name.lower()].append(header)
    seen: dict[str, int] = defaultdict(int)
    for given in sent:
        name, value = given["name"], given["value"]
        key = name.lower() if isinstance(name, str) else ""
        place = seen[key]
        seen[key] += 1
        if value == MASK and place < len(stored[key]):
            value = stored[key][place].value
        yield name, value


def _changes_origin(found: dict[str, Any], webhook: Webhook) -> bool:
    return "url" in found and _moves(webhook.url, found["url"])


def _moves(before: str, after: Any) -> bool:
    """Whether a URL leads to another origin."""
    if after == before or not isinstance(after, str):
        return False
    try:
        return parse_url(after).origin != parse_url(before).origin
    except ValueError:
        return True


def _kept(sent: dict[str, Any], webhook: Webhook) -> list[str]:
    """The fields whose stored secrets would live on, by a mask or by being left out."""
    kept = []
    # A stored secret is asked for last: one that cannot be read is mended by sending it anew.
    if sent.get("token", MASK) == MASK and webhook.token:
        kept.append("token")
    headers = sent.get("headers")
    if headers is None:
        keeps_headers = webhook.headers.exists()
    else:
        keeps_headers = any(header["value"] == MASK for header in headers)
    if keeps_headers:
        kept.append("headers")
    auth = sent.get("auth")
    if (auth is None or auth.get("password", "") == MASK) and webhook.auth_password:
        kept.append("auth")
    return kept
