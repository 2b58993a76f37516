"""AuditEntry: who changed what, by which door. Written with the change, never changed itself."""

from typing import Any

from django.db import models
from django.utils import timezone

from .account import AccessToken, Account
from .delivery import Delivery
from .event import Event, EventType
from .primary import PrimaryModel, PrimaryQuerySet, clock
from .webhook import Webhook


class Actor(str):
    """The name of who asks, and the door: the API, the admin, a command; a plain str is Python.

    It is text, so it goes wherever the verbs take `by`.
    """

    __slots__ = ("door",)
    door: str

    def __new__(cls, name: str, door: str) -> "Actor":
        actor = super().__new__(cls, name[:150])
        actor.door = door
        return actor

    @classmethod
    def of(cls, user: Any, door: str) -> "Actor":
        """A user of any model: its name may be a number, a row, or nothing at all. Without a name
        it is called by its key, because a change without a name is not noted."""
        name = user.get_username()
        text = "" if name is None else str(name).replace("\0", "\ufffd")
        return cls(text if text.strip() else f"user {user.pk}", door)


SENT = "Sent a notice: "  # how the line of a letter that was sent begins
SENT_AMONG = 200  # lines of an account that are looked through for them


class AuditEntryQuerySet(PrimaryQuerySet["AuditEntry"]):
    def notices_of(self, account: Account, most: int) -> "list[AuditEntry]":
        """The last letters that were sent about webhooks of an account, among its last lines."""
        lines = self.filter(account=account).order_by("-id")[:SENT_AMONG]
        return [line for line in lines if line.action.startswith(SENT)][:most]

    def note(self, by: str, action: str, target: Any, account: Account | None = None) -> None:
        """One line: `by` did `action` (words, never a value) to `target`, a row of ours, a user or
        a group; None is the installation as a whole.

        Without a name nobody in particular did it, and nothing is noted.
        """
        if not by:
            return
        match target:
            case Webhook() | AccessToken() | Event() | EventType():
                account_id: int | None = target.account_id
            case Delivery():
                account_id = target.webhook.account_id
            case Account():
                account_id = target.pk
            case _:
                account_id = account.pk if account else None
        self.create(
            at=clock(self.db),
            by=by[:150],
            door=getattr(by, "door", AuditEntry.Door.PYTHON),
            action=action[:255],
            kind=target._meta.model_name if target else "installation",
            target=str(target.pk)[:64] if target else "",
            name=str(target)[:255] if target else "",
            account_id=account_id,
        )


class AuditEntry(PrimaryModel):
    """A change that a person or a program asked for: webhooks, deliveries, tokens, accounts, staff.

    It holds names and words, no secret and no value that was typed into a field.
    """

    class Door(models.TextChoices):
        API = "api", "API"
        ADMIN = "admin", "admin"
        COMMAND = "command", "command"
        PYTHON = "python", "Python"

    at = models.DateTimeField(default=timezone.now)
    by = models.CharField(max_length=150)
    door = models.CharField(max_length=7, choices=Door)
    action = models.CharField(max_length=255)
    kind = models.CharField(max_length=32)
    target = models.CharField(max_length=64)
    name = models.CharField(max_length=255, blank=True, default="")
    account = models.ForeignKey(
        Account, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )

    objects = AuditEntryQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "audit log"
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["at"], name="auditentry_at"),
            models.Index(fields=["account", "id"], name="auditentry_account"),
            models.Index(fields=["target", "id"], name="auditentry_target"),
            models.Index(fields=["by", "id"], name="auditentry_by"),
        ]

    def __str__(self) -> str:
        return f"{self.by}: {self.did}"

    @property
    def did(self) -> str:
        """The action as the cell of a table, without its full stop."""
        return self.action.removesuffix(".")
