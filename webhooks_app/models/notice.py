"""Notice: a letter about a webhook that waits to be sent by email."""

from django.db import models
from django.utils import timezone

from .primary import PrimaryModel
from .webhook import Webhook


class Notice(PrimaryModel):
    """Written in the transaction that noted the change; gone once the mail server has taken it."""

    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="notices")
    recipients = models.JSONField(default=list)  # addresses, each sees the others
    subject = models.CharField(max_length=255)
    text = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(default=timezone.now)
    tries = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ["id"]
        default_permissions = ()
        indexes = [models.Index(fields=["due_at"], name="notice_due")]

    def __str__(self) -> str:
        return self.subject
