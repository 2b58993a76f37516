"""Webhook (what is called) and Header (what goes with every call)."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, Self

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import NotSupportedError, models, router, transaction
from django.db.models import Case, F, OuterRef, Q, Subquery, Value, When
from django.db.models.functions import Length, Now
from django.db.models.lookups import Exact, GreaterThan, IsNull
from django.utils import timezone

from .. import conf
from ..fields import (
    HOST_KEPT,
    EncryptedTextField,
    HostOf,
    IdField,
    NameStart,
    Sealed,
    WrongKey,
)
from ..rules import schedules
from ..rules.hosts import spellings
from ..rules.ids import ID_LENGTH, new_id
from ..rules.rates import COUNT_MOST, SECONDS, Rate
from .account import Account
from .primary import PrimaryModel, PrimaryQuerySet, clock

if TYPE_CHECKING:
    from .health import WebhookHealth
    from .signing import SigningKeyQuerySet

FAILING_AFTER = 5  # failures in a row
BREAKER_AFTER = 10  # failures in a row that say the receiver is not there


class Form(models.TextChoices):
    """What is sent of an event."""

    PAYLOAD = "payload", "payload: the published bytes"
    STANDARD = "standard", "standard: type, timestamp and data, as Standard Webhooks"
    THIN = "thin", "thin: type, timestamp and the event's id; the receiver fetches the rest"
    CLOUDEVENTS = "cloudevents", "cloudevents: a structured CloudEvent 1.0"


# Columns that are encrypted, for who looks at many webhooks and reads none of them.
SECRETS = ("token", "auth_password", "oauth", "identity")
SECRETS_BESIDE = tuple(
    f"webhook__{name}" for name in SECRETS
)  # the same, of rows that have a webhook


class Order(models.TextChoices):
    """What of a webhook's is sent one after the other."""

    NONE = "", "nothing: as many at once as may be"
    WEBHOOK = "webhook", "all of the webhook"
    KEY = "key", "all with the same ordering key"


class OnDead(models.TextChoices):
    """What becomes of an order when all tries of a delivery have failed."""

    CONTINUE = "continue", "the next one goes"
    STOP = "stop", "the webhook is stopped, until a person decides"


# Columns that say how it stands with a webhook; all others go into its requests.
STATE = frozenset(
    (
        *("verified_at", "verification_due_at", "updated_at", "deleted_at"),
        *("stopped", "stopped_note", "stopped_by", "stopped_at"),
    )
)
BULK_ARGUMENTS = ("batch_size", "ignore_conflicts", "update_conflicts", "update_fields")
SLOTS = 64  # shares of the webhooks that workers own


class WebhookQuerySet(PrimaryQuerySet["Webhook"]):
    def live(self) -> Self:
        """Not deleted."""
        return self.filter(deleted_at__isnull=True)

    def for_account(self, account: Account | int) -> Self:
        """Those of an account, or of the account with this key."""
        return self.live().filter(account=account)

    def at_host(self, host: str) -> Self:
        """Those whose URL names a host, deleted ones too. Raises ValueError where that is none."""
        return self.filter(host__in=sorted(spellings(host)))

    def named(self, name: str) -> Self:
        """Those with a name, letter by letter, by the index of how names begin."""
        start = Exact(NameStart(F("name")), NameStart(Value(name)))
        # A set of its own: beside the name itself SQLite would not see the column of its index.
        return self.filter(pk__in=self.model.objects.filter(start).values("pk"), name=name)

    def as_owners(self) -> Q:
        """That the webhook of a row is among these, asked for each row by an index that begins with
        what chooses them: those of one host lie side by side there. Of a range, if only of one key;
        by the key itself SQLite would look up each webhook, wherever it lies, and read it."""
        own = OuterRef("webhook")
        found = self.filter(pk__range=(own, own)).order_by().values("pk")
        return Q(IsNull(Subquery(found), False))

    def update(self, **changes: Any) -> int:
        """As Django's (`bulk_update` comes through here too), and what follows from a change of
        what is sent: see `Webhook.save`. Who changes `version` himself has done that already."""
        if "version" in changes or changes.keys() <= STATE:
            return super().update(**changes)
        now = clock(self.db)
        changes["version"] = F("version") + 1
        changes.setdefault("updated_at", now)
        if "token" in changes:
            changes.setdefault("verification_due_at", now)
        if "url" not in changes:
            return super().update(**changes)
        same, moment = Q(url=changes["url"]), models.DateTimeField()
        kept = {"verified_at": None, "verification_due_at": now}
        for name, anew in kept.items():
            kept_where_same = Case(When(same, then=F(name)), default=anew, output_field=moment)
            changes.setdefault(name, kept_where_same)
        with transaction.atomic(using=self.db):
            ids = list(self.order_by().values_list("pk", flat=True))
            rows = Webhook.objects.using(self.db).filter(pk__in=ids)
            rows.lock()
            moved = list(rows.exclude(same).values_list("pk", flat=True))
            updated = super().update(**changes)
            _watch_anew(self.db, moved)
        return updated

    update.alters_data = True  # type: ignore[attr-defined]  # templates do not call it

    def bulk_create(self, objs: Iterable["Webhook"], *args: Any, **kwargs: Any) -> Any:
        """As Django's. Raises NotSupportedError for `update_conflicts` of what is sent: the
        database alone would know which rows those are, and nothing would follow from it."""
        more = dict(zip(BULK_ARGUMENTS, args, strict=False)) | kwargs
        if more.get("update_conflicts") and not STATE.issuperset(more.get("update_fields") or ()):
            raise NotSupportedError(
                "What a webhook sends is not changed by update_conflicts: nobody would verify a "
                "new URL. Use update_or_create(), bulk_update() or actions.update_webhook()."
            )
        return super().bulk_create(objs, *args, **kwargs)

    bulk_create.alters_data = True  # type: ignore[attr-defined]

    def touch(self) -> None:
        """What goes with their calls was changed elsewhere: whoever keeps a request makes it
        anew."""
        self.update(version=F("version") + 1, updated_at=clock(self.db))


class Webhook(PrimaryModel):
    """An endpoint of a customer that is called, and everything that goes with the call.

    Source: the Webhooks API document (name, url, token, headers, auth, error); the rest is what
    the document has no field for.
    """

    class Stopped(models.TextChoices):
        PAUSED = "paused", "paused by a person"
        GONE = "gone", "the receiver says it is gone (410)"
        FAILING = "failing", "nothing but failure for 5 days"
        BLOCKED = "blocked", "a delivery gave up, and those behind it wait"

    id = IdField(primary_key=True, max_length=ID_LENGTH, default=new_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="webhooks")
    name = models.CharField(max_length=1024, help_text="1 to 1,024 characters.")
    url = models.CharField(
        "URL", max_length=2048, help_text="Public http or https address, at most 2,048 characters."
    )
    # The database keeps it, whoever writes the URL and of whatever version; an instance that was
    # made or changed here may not know it yet.
    host = models.GeneratedField(
        expression=HostOf("url"), output_field=IdField(max_length=HOST_KEPT), db_persist=True
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
    # A new row asks for one, whoever makes it and however.
    verified_at = models.DateTimeField(null=True, blank=True, editable=False)
    verification_due_at = models.DateTimeField(
        null=True, blank=True, editable=False, default=timezone.now, db_default=Now()
    )

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
    # A default of the database's own, too: processes of an older version insert without it.
    signature_prefix = models.CharField(
        "second names of the signature headers",
        max_length=32,
        blank=True,
        default="",
        db_default="",
        help_text="Like svix-: then svix-id, svix-timestamp and svix-signature are sent beside "
        "webhook-id, webhook-timestamp and webhook-signature. Empty: those alone.",
    )

    form = models.CharField(
        max_length=16,
        choices=Form,
        default=Form.PAYLOAD,
        db_default=Form.PAYLOAD,
        help_text="What is sent of an event; deliveries made directly are sent as they are.",
    )
    order = models.CharField(
        max_length=7,
        choices=Order,
        blank=True,
        default=Order.NONE,
        db_default=Order.NONE,
        help_text="What is sent one after the other, each when the one before has ended.",
    )
    on_dead = models.CharField(
        "in order, when all tries failed",
        max_length=8,
        choices=OnDead,
        default=OnDead.CONTINUE,
        db_default=OnDead.CONTINUE,
    )

    # JSON as `rules.oauth` reads it; a PEM with certificate and private key; PEM of the authorities
    # trusted in place of the public ones.
    oauth = EncryptedTextField("OAuth 2", blank=True, default="", db_default="")
    identity = EncryptedTextField("client certificate", blank=True, default="", db_default="")
    ca_certificates = models.TextField(
        "certificate authorities", blank=True, default="", db_default=""
    )

    # Its own limits; null: none, and the site's. The schedule as a delivery keeps it.
    rate_count = models.PositiveIntegerField(null=True, blank=True, editable=False)
    rate_seconds = models.PositiveSmallIntegerField(null=True, blank=True, editable=False)
    retry_schedule = models.CharField(  # noqa: DJ001
        max_length=255, null=True, blank=True, editable=False
    )
    breaker_after = models.PositiveSmallIntegerField(
        "failures that open the breaker",
        default=BREAKER_AFTER,
        db_default=BREAKER_AFTER,
        validators=[MinValueValidator(3), MaxValueValidator(100)],
        help_text="So many calls in a row that meet nobody let the webhook rest, 3 to 100.",
    )
    breaker_off = models.BooleanField(
        "no breaker",
        default=False,
        db_default=False,
        help_text="It is called however often calls meet nobody.",
    )

    # Bumped by every write of the webhook or its headers: whoever keeps a built request compares.
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    health: "WebhookHealth"
    signing_keys: "SigningKeyQuerySet"
    objects = WebhookQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        permissions = [
            (
                "operate_webhook",
                "Can operate webhook: verify, test, pause, resume, retry, replay and cancel",
            ),
            ("reveal_secrets", "Can reveal tokens, passwords and header values"),
        ]
        indexes = [
            models.Index(
                fields=["account", "id"], condition=Q(deleted_at=None), name="webhook_list"
            ),
            # Of all of an account, deleted ones too: their keys without a row.
            models.Index(fields=["account", "id"], name="webhook_account"),
            models.Index(
                fields=["verification_due_at"],
                condition=Q(verification_due_at__isnull=False),
                name="webhook_verification_due",
            ),
            models.Index(
                fields=["deleted_at", "id"],
                condition=Q(deleted_at__isnull=False),
                name="webhook_deleted_id",
            ),
            models.Index(fields=["host", "id"], name="webhook_host"),
            models.Index(NameStart("name"), name="webhook_name"),
            # The few that are not called; no delivery writes them.
            models.Index(
                fields=["stopped_at", "id"], condition=~Q(stopped=""), name="webhook_stopped"
            ),
            models.Index(
                fields=["id"], condition=Q(verified_at__isnull=True), name="webhook_unverified"
            ),
            # The few that send in order.
            models.Index(fields=["id"], condition=~Q(order=""), name="webhook_ordered"),
            # To count them without reading one.
            models.Index(fields=["stopped", "id"], condition=~Q(stopped=""), name="webhook_stops"),
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
                condition=Q(stopped__in=["", "paused", "gone", "failing", "blocked"]),
                name="webhook_stopped",
            ),
            models.CheckConstraint(
                condition=Q(max_in_flight__gte=1, max_in_flight__lte=1000),
                name="webhook_max_in_flight",
            ),
            models.CheckConstraint(
                condition=Q(timeout__isnull=True) | Q(timeout__gte=0.1, timeout__lte=60),
                name="webhook_timeout",
            ),
            models.CheckConstraint(
                condition=Q(rate_count__isnull=True, rate_seconds__isnull=True)
                | Q(
                    rate_count__gte=1,
                    rate_count__lte=COUNT_MOST,
                    rate_seconds__in=sorted(SECONDS.values()),
                ),
                name="webhook_rate",
            ),
            models.CheckConstraint(
                condition=Q(breaker_after__gte=3, breaker_after__lte=100),
                name="webhook_breaker_after",
            ),
        ]

    def __str__(self) -> str:
        return self.name if len(self.name) <= 60 else self.name[:59] + "…"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """As Django's, and what follows from a change of what is stored: whoever keeps a built
        request makes it anew; a new URL is not verified, a new URL or token asks for a
        verification, and the failures of another URL count no more.

        Who names `version` in `update_fields` has done that already.
        """
        named = kwargs.get("update_fields")
        follows = named is None or not ("version" in named or STATE.issuperset(named))
        if self._state.adding or kwargs.get("force_insert") or not follows:
            return super().save(*args, **kwargs)
        alias = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=alias):
            more = self._follow(alias, named)
            if named is not None:
                kwargs["update_fields"] = {*named, *more}
            return super().save(*args, **kwargs)

    def _follow(self, alias: str, named: Collection[str] | None) -> set[str]:
        """Set what follows from what is about to be saved; returns the names of these fields."""
        rows = type(self).objects.using(alias).filter(pk=self.pk)
        columns = ("url", "token", "version", "verified_at")
        stored: Any = rows.select_for_update(no_key=True).values(*columns)
        before = stored.first()
        if before is None:
            return set()
        self.version, self.updated_at = before["version"] + 1, clock(alias)
        fields = {"version", "updated_at"}
        changed = [
            name
            for name in ("url", "token")
            if (named is None or name in named) and _is_other(self.__dict__, name, before[name])
        ]
        if changed:
            self.verification_due_at = self.updated_at
            fields.add("verification_due_at")
        # `update_or_create` names all moments, those too that stay as they are.
        says = "verified_at" in (named or ()) and self.verified_at != before["verified_at"]
        if "url" in changed and not says:
            self.verified_at = None
            fields.add("verified_at")
        if "url" in changed:
            _watch_anew(alias, [self.pk])
        return fields

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
        if not conf.settings.verification_required:
            return "off"
        if self.verification_due_at is not None:
            return "waiting"
        return "passed" if self.verified else "failed"

    @property
    def exchange_timeout(self) -> float:
        """Seconds for a whole exchange: its own, else the site's."""
        return conf.settings.timeout if self.timeout is None else self.timeout

    @property
    def rate_limit(self) -> str | None:
        """Like `100/minute`; None: no limit of its own."""
        return None if self.rate is None else str(self.rate)

    @property
    def delays(self) -> list[float] | None:
        """Seconds to wait after each failure, by its own schedule; None: the site's."""
        if self.retry_schedule is None:
            return None
        own = schedules.delays(self.retry_schedule)
        return [int(one) if one.is_integer() else one for one in own]

    @property
    def rate(self) -> Rate | None:
        """How often it may be called at the most; None: as often as there is something."""
        if self.rate_count is None or self.rate_seconds is None:
            return None
        return Rate(self.rate_count, self.rate_seconds)


def _watch_anew(alias: str, webhook_ids: Collection[str]) -> None:
    """What is known of another place that these had as URL counts no more."""
    from .health import WebhookHealth  # which imports this module

    if webhook_ids:
        WebhookHealth.objects.using(alias).filter(pk__in=webhook_ids).watch_anew()


def _is_other(instance: dict[str, Any], name: str, stored: Any) -> bool:
    """Whether an instance holds another value than is stored; secrets are opened if need be."""
    value = instance.get(name, stored)  # deferred: nobody has touched it
    if value == stored:
        return False
    try:
        return bool(_opened(value) != _opened(stored))
    except WrongKey:
        return True


def _opened(value: Any) -> Any:
    return value.open() if isinstance(value, Sealed) else value


def slot_of(webhook_id: str) -> int:
    return int(webhook_id[-4:], 16) % SLOTS


class HeaderQuerySet(PrimaryQuerySet["Header"]):
    """As Django's; and whoever keeps a request with these headers makes it anew."""

    def update(self, **changes: Any) -> int:
        with transaction.atomic(using=router.db_for_write(self.model)):
            touched = set(self.order_by().values_list("webhook_id", flat=True))
            if (webhook := changes.get("webhook", changes.get("webhook_id"))) is not None:
                touched.add(getattr(webhook, "pk", webhook))
            changed = super().update(**changes)
            _touch(touched)
        return changed

    update.alters_data = True  # type: ignore[attr-defined]  # templates do not call these

    def delete(self) -> Any:
        with transaction.atomic(using=router.db_for_write(self.model)):
            touched = set(self.order_by().values_list("webhook_id", flat=True))
            deleted = super().delete()
            _touch(touched)
        return deleted

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]  # no manager deletes everything

    def bulk_create(self, objs: Iterable["Header"], *args: Any, **kwargs: Any) -> Any:
        made = super().bulk_create(objs := list(objs), *args, **kwargs)
        _touch({header.webhook_id for header in objs})
        return made

    bulk_create.alters_data = True  # type: ignore[attr-defined]

    def replace(self, webhook: Webhook, pairs: Iterable[tuple[str, str]]) -> None:
        """These names and values instead of all headers of a webhook; who does so sees to its
        version."""
        super(HeaderQuerySet, self.filter(webhook=webhook)).delete()
        super().bulk_create(
            Header(webhook=webhook, position=position, name=name, value=value)
            for position, (name, value) in enumerate(pairs)
        )

    replace.alters_data = True  # type: ignore[attr-defined]


def _touch(webhook_ids: Collection[str]) -> None:
    if webhook_ids:
        Webhook.objects.filter(pk__in=webhook_ids).touch()


class Header(PrimaryModel):
    """A request header of a webhook; all header values are secrets. Sent in this order."""

    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="headers")
    position = models.PositiveSmallIntegerField(default=0)
    name = models.CharField(max_length=128)
    value = EncryptedTextField()

    objects = HeaderQuerySet.as_manager()

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

    def save(self, *args: Any, **kwargs: Any) -> None:
        super().save(*args, **kwargs)
        _touch([self.webhook_id])

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        deleted = super().delete(*args, **kwargs)
        _touch([self.webhook_id])
        return deleted
