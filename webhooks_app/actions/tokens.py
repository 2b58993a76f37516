"""Access tokens of API clients: issued, revoked."""

from datetime import datetime

from django.db import transaction

from ..models import AccessToken, Account, AuditEntry
from . import limits
from .base import db_alias


def issue_token(
    account: Account,
    *,
    name: str = "",
    scope: str = AccessToken.Scope.MANAGE,
    expires_at: datetime | None = None,
    by: str = "",
) -> tuple[AccessToken, str]:
    """A new access token and its secret (`whk_…`), which is stored nowhere and can never be read
    again. `expires_at` is aware; None: it holds until it is revoked. Raises Invalid where the
    account has as many as it may (WEBHOOKS_TOKENS_PER_ACCOUNT)."""
    limits.refuse(limits.tokens_problem(account))
    with transaction.atomic(using=db_alias()):
        token, secret = AccessToken.issue(account, name=name, scope=scope, expires_at=expires_at)
        AuditEntry.objects.note(by, f"Created, scope {scope}.", token)
    return token, secret


def revoke_token(token: AccessToken, *, by: str = "") -> bool:
    """Refused from now on, by every process. False when it was revoked already."""
    with transaction.atomic(using=db_alias()):
        revoked = token.revoke()
        if revoked:
            AuditEntry.objects.note(by, "Revoked.", token)
    return revoked
