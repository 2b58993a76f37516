"""Accounts: removed for good."""

from django.db import transaction

from ..engine.maintenance import removal
from ..models import Account, AuditEntry, Webhook
from .base import db_alias, outside_transactions
from .webhooks import delete_webhook


def delete_account(account: Account, *, by: str = "") -> dict[str, int]:
    """Remove an account and all that is its own: webhooks, deliveries, attempts, events, tokens.
    The audit log stays, and tells the beginning and the end. Nothing is called any more from the
    beginning.

    Returns how many attempts, deliveries, events and webhooks were removed. It is done in small
    transactions, which takes a while where there are millions (`account.delete()` does it in one,
    and everybody waits); cut short, it can be called once more. Raises RuntimeError inside
    `transaction.atomic`.
    """
    outside_transactions("an account must not be deleted")
    with transaction.atomic(using=db_alias()):
        AuditEntry.objects.note(by, "Began to delete it.", account)
        account.tokens.all().delete()
        account.members.clear()
    for webhook in Webhook.objects.for_account(account).order_by("pk"):
        delete_webhook(webhook, by=by)
    return removal.remove(account, lambda: AuditEntry.objects.note(by, "Deleted.", account))
