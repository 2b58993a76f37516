"""Account (the tenant) and AccessToken (what an API client shows for it)."""

import hashlib
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Self

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models, router, transaction
from django.db.models import F, Q, signals
from django.db.models.functions import Now
from django.utils import timezone

from .compiled_query import Prepared, PreparedMany
from .primary import PrimaryModel, PrimaryQuerySet, clock
from .statement_timeout import in_passing

USE_NOTED_EVERY = timedelta(minutes=1)
USES_LOST_MOST = 10_000
FAILURE_PATIENCE = 0.1  # seconds for which a wrong token waits to be counted
FAILURES_COUNTED = timedelta(minutes=15)  # for which wrong tokens of an address count
TOKEN_PREFIX = "whk_"  # noqa: S105  (a prefix that secret scanners can look for)


class MembersField(models.ManyToManyField):
    """Users of accounts, who may live in another database: no statement joins the two, and who is
    deleted there is forgotten here (`forget_member`)."""

    def deconstruct(self) -> Any:
        # To the database it is what it is to Django.
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.ManyToManyField", args, kwargs

    def _rows(self) -> Any:
        through: Any = self.remote_field.through
        return through._base_manager.using(router.db_for_write(through))

    def value_from_object(self, obj: Any) -> list[Any]:
        if obj.pk is None:
            return []
        column = self.m2m_reverse_field_name()
        ids = self._rows().filter(**{self.m2m_field_name(): obj.pk}).values_list(column, flat=True)
        return list(self.related_model._base_manager.filter(pk__in=list(ids)))

    def save_form_data(self, instance: Any, data: Any) -> None:
        rows, ours = self._rows(), {self.m2m_field_name(): instance}
        theirs = self.m2m_reverse_field_name()
        wanted = {user.pk for user in data}
        with transaction.atomic(using=rows.db):
            there = rows.filter(**ours)
            there.exclude(**{f"{theirs}__in": wanted}).delete()
            new = wanted - set(there.values_list(theirs, flat=True))
            model = self.remote_field.through
            rows.bulk_create(model(**ours, **{f"{theirs}_id": pk}) for pk in new)


def forget_member(instance: Any, **kwargs: Any) -> None:
    """Before a user is deleted, in whatever database: his memberships in ours."""
    field: Any = Account._meta.get_field("members")
    field._rows().filter(**{field.m2m_reverse_field_name(): instance.pk}).delete()


def let_users_be_deleted() -> None:
    """Django would look for memberships in the database of the users."""
    field: Any = Account._meta.get_field("members")
    theirs = field.remote_field.through._meta.get_field(field.m2m_reverse_field_name())
    theirs.remote_field.on_delete = models.DO_NOTHING
    signals.pre_delete.connect(forget_member, sender=settings.AUTH_USER_MODEL)


class Account(PrimaryModel):
    """The tenant: everything belongs to one account and is seen by its tokens and members only."""

    name = models.CharField(
        max_length=64,
        unique=True,
        validators=[RegexValidator(r"\A[a-z0-9-]{1,64}\Z", "Use 1 to 64 of a-z, 0-9 and -.")],
        help_text="1 to 64 of a-z, 0-9 and -.",
    )
    contact_email = models.EmailField(
        blank=True, help_text="Who hears of a webhook that fails; may be empty."
    )
    members = MembersField(
        settings.AUTH_USER_MODEL,
        blank=True,
        db_constraint=False,
        related_name="webhook_accounts",
        help_text="Users whose session may act for the account in the browsable API.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(name__regex=r"^[a-z0-9-]{1,64}$"), name="account_name_form"
            )
        ]

    def __str__(self) -> str:
        return self.name


class AccessTokenQuerySet(PrimaryQuerySet["AccessToken"]):
    def usable(self) -> Self:
        """Neither revoked nor expired, by the database's clock."""
        return self.filter(
            Q(expires_at__isnull=True) | Q(expires_at__gt=Now()), revoked_at__isnull=True
        )

    def for_secret(self, secret: str) -> "AccessToken | None":
        """The usable token with this secret; one indexed query."""
        return _BY_DIGEST.first(digest(secret))

    def by_digests(self, digests: Collection[str]) -> "dict[str, AccessToken]":
        """The usable ones among these, with their accounts, in one query."""
        return {token.digest: token for token in _BY_DIGESTS.all(list(digests))}


def digest(secret: str) -> str:
    """What is stored of a token. 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


class AccessToken(PrimaryModel):
    """An access token: `Authorization: Bearer whk_…`. The secret is never stored."""

    class Scope(models.TextChoices):
        MANAGE = "manage", "manage: everything"
        SEND = "send", "send: interactions and deliveries, and reading its own deliveries"
        READ = "read", "read: every GET, secrets masked"

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100, blank=True, help_text="What it is for.")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField(max_length=12, editable=False)
    scope = models.CharField(max_length=6, choices=Scope, default=Scope.MANAGE)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = AccessTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(scope__in=["manage", "send", "read"]), name="accesstoken_scope"
            )
        ]

    def __str__(self) -> str:
        return f"{self.hint}… ({self.name or self.scope})"

    @classmethod
    def issue(
        cls,
        account: Account,
        *,
        name: str = "",
        scope: str = Scope.MANAGE,
        expires_at: datetime | None = None,
    ) -> "tuple[AccessToken, str]":
        """Store a new token; returns it and its secret, which can never be read again."""
        secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
        token = cls.objects.create(
            account=account,
            name=name,
            scope=scope,
            created_at=clock(router.db_for_write(cls)),
            expires_at=expires_at,
            digest=digest(secret),
            hint=secret[:8],
        )
        return token, secret

    def note_use(self) -> None:
        """Remember the last use: written at most once a minute, and not at all where that would
        have to wait, or no request that only reads would be answered while something locks."""
        alias = router.db_for_write(type(self))
        now, here = clock(alias), timezone.now()
        if self.last_used_at is not None and now - self.last_used_at <= USE_NOTED_EVERY:
            return
        if (lost := _use_lost_at.get(self.pk)) is not None and here - lost <= USE_NOTED_EVERY:
            return
        row = type(self).objects.filter(pk=self.pk)
        if not in_passing(lambda: row.update(last_used_at=now), alias):
            if len(_use_lost_at) >= USES_LOST_MOST:
                _use_lost_at.clear()
            _use_lost_at[self.pk] = here

    def revoke(self) -> bool:
        """False when it was revoked already."""
        rows = type(self).objects.filter(pk=self.pk, revoked_at__isnull=True)
        return bool(rows.update(revoked_at=Now()))


_use_lost_at: dict[int, datetime] = {}  # by token, when this process could not note its use

_BY_DIGEST = Prepared(
    AccessToken, lambda digest: AccessToken.objects.usable().filter(digest=digest)
)

_BY_DIGESTS = PreparedMany(
    AccessToken,
    lambda digests: AccessToken.objects.usable().filter(digest__in=digests),
    beside="account",
)


class FailedAuthenticationQuerySet(PrimaryQuerySet["FailedAuthentication"]):
    def note(self, address: str, limit: int) -> float:
        """One more from this address; 0, or the seconds to wait when there were `limit` already.

        Past the limit nothing more is written, and nothing where somebody holds a lock.
        """
        now = clock(self.db)
        open_since = now - FAILURES_COUNTED
        row = self.filter(address=address, since__gt=open_since).first()
        if row is not None and row.count >= limit:
            return (row.since - open_since).total_seconds()

        def write() -> None:
            if row is not None:
                self.filter(pk=row.pk).update(count=F("count") + 1)
                return
            self.filter(since__lte=open_since).delete()
            self.update_or_create(address=address, defaults={"since": now, "count": 1})

        in_passing(write, router.db_for_write(self.model), FAILURE_PATIENCE)
        return 0


class FailedAuthentication(PrimaryModel):
    """How many wrong access tokens came from an address (an IPv6 /64) since a moment."""

    address = models.CharField(primary_key=True, max_length=45)
    since = models.DateTimeField()
    count = models.PositiveIntegerField(default=1)

    objects = FailedAuthenticationQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["since"], name="failedauthentication_since")]

    def __str__(self) -> str:
        return f"{self.address}: {self.count}"
