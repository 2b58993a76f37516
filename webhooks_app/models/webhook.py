"""Webhook (what is called) and Header (what goes with every call)."""

from typing import TYPE_CHECKING, Self

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Length
from django.db.models.lookups import GreaterThan
from django.utils import timezone

from .. import conf
from ..fields import EncryptedTextField, IdField
from ..rules.ids import ID_LENGTH, new_id
from .account import Account

if TYPE_CHECKING:
    from .health import WebhookHealth

FAILING_AFTER = 5  # failures in a row
SLOTS = 64  # shares of the webhooks that workers own


class WebhookQuerySet(models.QuerySet["Webhook"]):
    def live(self) -> Self:
        """Not deleted."""
        return self.filter(deleted_at__isnull=True)

    def for_account(self, account: Account | int) -> Self:
        """Those of an account, or of the account with this key."""
        return self.live().filter(account=account)

    def failing(self) -> Self:
        """5 or more deliveries or interactions in a row failed."""
        return self.filter(health__failures_in_row__gte=FAILING_AFTER)


class Webhook(models.Model):
    """An endpoint of a customer that is called, and everything that goes with the call.

    Source: the Webhooks API document (name, url, token, headers, auth, error); the rest is what
    the document has no field for.
    """

    class Stopped(models.TextChoices):
        PAUSED = "paused", "paused by a person"
        GONE = "gone", "the receiver says it is gone (410)"
        FAILING = "failing", "nothing but failure for 5 days"

    id = IdField(primary_key=True, max_length=ID_LENGTH, default=new_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="webhooks")
    name = models.CharField(max_length=1024, help_text="1 to 1,024 characters.")
    url = models.CharField(
        "URL", max_length=2048, help_text="Public http or https address, at most 2,048 characters."
    )
    token = EncryptedTextField(
        blank=True, default="", help_text="Sent as ?token=… with each call and the verification."
    )
    auth_username = models.CharField(
        "basic auth: user name", max_length=1024, blank=True, default=""
    )
    auth_password = EncryptedTextField("basic auth: password", blank=True, default="")

    # Verification: `verified_at` says that the present URL passed; `verification_due_at` that a
    # verification was asked for and has not been answered yet. Both go with the URL and token.
    verified_at = models.DateTimeField(null=True, blank=True, editable=False)
    verification_due_at = models.DateTimeField(null=True, blank=True, editable=False)

    stopped = models.CharField(
        max_length=7, choices=Stopped, blank=True, default="", editable=False
    )
    stopped_note = models.CharField(max_length=255, blank=True, default="", editable=False)
    stopped_by = models.CharField(max_length=150, blank=True, default="", editable=False)
    stopped_at = models.DateTimeField(null=True, blank=True, editable=False)

    timeout = models.FloatField(
        "timeout (seconds)",
        null=True,
        blank=True,
        validators=[MinValueValidator(0.1), MaxValueValidator(60)],
        help_text="For a whole exchange, 0.1 to 60; empty: the site's WEBHOOKS_TIMEOUT.",
    )
    max_in_flight = models.PositiveSmallIntegerField(
        "calls in flight",
        default=10,
        validators=[MinValueValidator(1), MaxValueValidator(1000)],
        help_text="Most deliveries under way at once, 1 to 1,000.",
    )

    # Bumped by every write of the webhook or its headers: whoever keeps a built request compares.
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    health: "WebhookHealth"
    objects = WebhookQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        permissions = [
            ("operate_webhook", "Can verify, test, pause and enable; can retry and cancel"),
            ("reveal_secrets", "Can reveal tokens, passwords and header values"),
        ]
        indexes = [
            models.Index(
                fields=["account", "id"], condition=Q(deleted_at=None), name="webhook_list"
            ),
            models.Index(
                fields=["verification_due_at"],
                condition=Q(verification_due_at__isnull=False),
                name="webhook_verification_due",
            ),
            models.Index(
                fields=["deleted_at"],
                condition=Q(deleted_at__isnull=False),
                name="webhook_deleted",
            ),
            # The few that are not called; no delivery writes them.
            models.Index(
                fields=["stopped_at", "id"], condition=~Q(stopped=""), name="webhook_stopped"
            ),
            models.Index(
                fields=["id"], condition=Q(verified_at__isnull=True), name="webhook_unverified"
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(GreaterThan(Length("name"), 0)) & ~Q(GreaterThan(Length("name"), 1024)),
                name="webhook_name_length",
            ),
            models.CheckConstraint(
                condition=Q(GreaterThan(Length("url"), 0)) & ~Q(GreaterThan(Length("url"), 2048)),
                name="webhook_url_length",
            ),
            models.CheckConstraint(
                condition=Q(stopped__in=["", "paused", "gone", "failing"]), name="webhook_stopped"
            ),
            models.CheckConstraint(
                condition=Q(max_in_flight__gte=1, max_in_flight__lte=1000),
                name="webhook_max_in_flight",
            ),
            models.CheckConstraint(
                condition=Q(timeout__isnull=True) | Q(timeout__gte=0.1, timeout__lte=60),
                name="webhook_timeout",
            ),
        ]

    def __str__(self) -> str:
        return self.name if len(self.name) <= 60 else self.name[:59] + "…"

    @property
    def slot(self) -> int:
        """The share of the webhooks it belongs to, 0 to 63, by its random bytes."""
        return slot_of(self.id)

    @property
    def verified(self) -> bool:
        return self.verified_at is not None

    @property
    def verification(self) -> str:
        """`off`, `waiting` (asked for, not answered), `passed` or `failed`."""
        if not conf.verification_required():
            return "off"
        if self.verification_due_at is not None:
            return "waiting"
        return "passed" if self.verified else "failed"

    @property
    def exchange_timeout(self) -> float:
        """Seconds for a whole exchange: its own, else the site's."""
        return conf.timeout() if self.timeout is None else self.timeout


def slot_of(webhook_id: str) -> int:
    return int(webhook_id[-4:], 16) % SLOTS


class Header(models.Model):
    """A request header of a webhook; all header values are secrets. Sent in this order."""

    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="headers")
    position = models.PositiveSmallIntegerField(default=0)
    name = models.CharField(max_length=128)
    value = EncryptedTextField()

    class Meta:
        ordering = ["position", "id"]
        indexes = [models.Index(fields=["webhook", "position", "id"], name="header_order")]
        constraints = [
            models.CheckConstraint(
                condition=Q(GreaterThan(Length("name"), 0)) & ~Q(GreaterThan(Length("name"), 128)),
                name="header_name_length",
            )
        ]

    def __str__(self) -> str:
        return self.name
