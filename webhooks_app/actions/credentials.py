"""What proves to a receiver who calls, beside token and password: OAuth 2 and client certificates,
judged and made ready to be stored."""

from collections.abc import Mapping
from typing import Any

from .. import conf
from ..engine.http.tls import Tls, problem
from ..models.primary import clock
from ..rules import certificates, oauth
from .base import db_alias
from .errors import Invalid
from .limits import refuse_beside_older_workers

FIELDS = ("oauth", "identity", "ca_certificates")
_UNFIT = "The certificate cannot be used for TLS"


def columns(given: Mapping[str, Any]) -> dict[str, str]:
    """Those of FIELDS that are given, as a webhook keeps them; None and `""` are none.

    Raises Invalid; OlderWorkers where one would call without them.
    """
    found: dict[str, str] = {}
    details: dict[str, Any] = {}
    if "oauth" in given:
        settings = given["oauth"]
        if settings is not None and (wrong := oauth.errors(settings, **conf.settings.url_rules)):
            details["oauth"] = wrong
        else:
            found["oauth"] = oauth.stored(settings)
    for name, field, judge in (
        ("identity", "identity", _identity),
        ("ca_certificates", "caCertificates", _authorities),
    ):
        if name in given:
            found[name], wrong = judge(given[name]) if given[name] not in (None, "") else ("", "")
            if wrong:
                details[field] = [wrong]
    if details:
        raise Invalid(details)
    if any(found.values()):
        refuse_beside_older_workers()
    return found


def _identity(pem: Any) -> tuple[str, str]:
    """What is stored, and what is wrong with it."""
    if wrong := certificates.identity_error(pem, clock(db_alias())):
        return "", wrong
    pem = certificates.identity(pem)
    return pem, _unfit(Tls.of(pem, ""))


def _authorities(pem: Any) -> tuple[str, str]:
    if wrong := certificates.authorities_error(pem):
        return "", wrong
    pem = certificates.authorities(pem)
    return pem, _unfit(Tls.of("", pem))


def _unfit(tls: Tls | None) -> str:
    """The verdict of OpenSSL, which may ask more: a key that is long enough, say."""
    reason = problem(tls) if tls is not None else ""
    return f"{_UNFIT}: {reason.lower().replace('_', ' ')}." if reason else ""
