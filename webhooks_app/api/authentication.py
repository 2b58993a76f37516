"""Who calls: an access token, or the session of a person in the browsable API.

Nothing else authenticates: no token in the query, no identity header of a proxy.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db.models import Q
from django.http import HttpRequest
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.authentication import SessionAuthentication as DRFSessionAuthentication
from rest_framework.request import Request

from ..models import (
    AccessToken,
    Account,
    Actor,
    AuditEntry,
    Delivery,
    Event,
    EventType,
    Webhook,
)
from ..models.compiled_query import Prepared, PreparedMany
from ..models.delivery import DeliveryQuerySet
from ..models.event import EventQuerySet, EventTypeQuerySet
from ..models.webhook import SECRETS, WebhookQuerySet
from ..rules.ids import is_account_name
from . import throttling
from .errors import Problem, invalid

HEADER_LIMIT = 1024  # characters of `Authorization`; ours has some fifty

NO_ACCOUNT = "There is no account of yours with this name."
MANAGE = frozenset({"manage"})
READ = frozenset({"manage", "read"})
SEND = frozenset({"manage", "send"})
HISTORY = frozenset({"manage", "read", "send"})


def _owned(account_id: int, ident: str) -> WebhookQuerySet:
    return Webhook.objects.for_account(account_id).filter(pk=ident)


def _owned_many(account_ids: Sequence[int], idents: Sequence[str]) -> WebhookQuerySet:
    return Webhook.objects.live().filter(account_id__in=account_ids, pk__in=idents)


_WEBHOOK = Prepared(Webhook, _owned, beside="health")
_WITHOUT_SECRETS = Prepared(Webhook, _owned, beside="health", without=SECRETS)
_MANY = PreparedMany(Webhook, _owned_many, beside="health", without=SECRETS, lists=2)


def webhooks_of(wanted: Collection[tuple[int, str]]) -> dict[tuple[int, str], Webhook]:
    """Live webhooks by their accounts and ids, with their health and without their secrets, in one
    query; what is not there, or another account's, is left out."""
    if not wanted:
        return {}
    accounts, idents = zip(*wanted, strict=True)
    found = {(row.account_id, row.pk): row for row in _MANY.all(accounts, idents)}
    return {key: found[key] for key in wanted if key in found}


@dataclass(frozen=True, slots=True)
class Need:
    """What a verb asks for: one of these scopes of a token, this permission of a session."""

    scopes: frozenset[str]
    permission: str  # codename within the app
    or_permission: str = ""  # the body decides which of the two: the verb judges that itself


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: whose webhooks it sees, and whether it sees their secrets."""

    by: str
    masked: bool

    @property
    def is_staff(self) -> bool:
        """Whether it is somebody of the installation's own, who reads its logs."""
        return False

    @property
    def is_of_one(self) -> bool:
        """Whether it acts for one account alone."""
        return True

    def webhooks(self) -> WebhookQuerySet:
        raise NotImplementedError

    def webhook(self, ident: str, *, secrets: bool) -> Webhook | None:
        """One of its webhooks, with its health; without `secrets` they are left in the database."""
        rows = self.webhooks().select_related("health")
        return (rows if secrets else rows.defer(*SECRETS)).filter(pk=ident).first()

    def deliveries(self) -> DeliveryQuerySet:
        raise NotImplementedError

    def events(self) -> EventQuerySet:
        raise NotImplementedError

    def event_types(self) -> EventTypeQuerySet:
        """Of its accounts, and of the whole site."""
        raise NotImplementedError

    @property
    def key(self) -> str:
        """What its requests are counted by."""
        raise NotImplementedError

    def account(self) -> Account:
        """The account that a new webhook belongs to. Raises Problem 400 when it is not clear."""
        raise NotImplementedError

    def refusal(self, need: Need) -> str:
        """Why the caller may not do what needs this; `""` when it may."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class TokenCaller(Caller):
    token: AccessToken

    @classmethod
    def of(cls, token: AccessToken) -> "TokenCaller":
        return cls(
            by=Actor(token.name or token.hint, AuditEntry.Door.API),
            masked=token.scope != AccessToken.Scope.MANAGE,
            token=token,
        )

    def check_account(self, query_params: Any) -> None:
        """A token may name its own account. Raises Problem 404 for another."""
        chosen = query_params.get("account")
        if chosen is not None and chosen != self.token.account.name:
            raise Problem(404, NO_ACCOUNT)

    def webhooks(self) -> WebhookQuerySet:
        return Webhook.objects.for_account(self.token.account_id)

    def webhook(self, ident: str, *, secrets: bool) -> Webhook | None:
        return (_WEBHOOK if secrets else _WITHOUT_SECRETS).first(self.token.account_id, ident)

    def deliveries(self) -> DeliveryQuerySet:
        return Delivery.objects.for_account(self.token.account_id)

    def events(self) -> EventQuerySet:
        return Event.objects.for_account(self.token.account_id)

    def event_types(self) -> EventTypeQuerySet:
        return EventType.objects.known_to(self.token.account_id)

    @property
    def key(self) -> str:
        return f"token:{self.token.pk}"

    def account(self) -> Account:
        return self.token.account

    def refusal(self, need: Need) -> str:
        if self.token.scope in need.scopes:
            return ""
        wanted = " or ".join(sorted(need.scopes))
        return f"The scope of this token is {self.token.scope}; this needs {wanted}."


@dataclass(frozen=True, slots=True)
class SessionCaller(Caller):
    """Acts for the accounts its user is a member of, a superuser for all; or for one `chosen`."""

    user: Any
    chosen: Account | None

    @property
    def is_staff(self) -> bool:
        return bool(self.user.is_staff)

    @property
    def is_of_one(self) -> bool:
        return self.chosen is not None

    @staticmethod
    def accounts(user: Any) -> Any:
        everything = Account.objects.all()
        return everything if user.is_superuser else everything.filter(members=user)

    def webhooks(self) -> WebhookQuerySet:
        if self.chosen is not None:
            return Webhook.objects.for_account(self.chosen)
        return Webhook.objects.live().filter(account__in=self.accounts(self.user))

    def deliveries(self) -> DeliveryQuerySet:
        return Delivery.objects.filter(webhook__in=self.webhooks())

    def _accounts(self) -> Any:
        return self.accounts(self.user) if self.chosen is None else [self.chosen]

    def events(self) -> EventQuerySet:
        return Event.objects.filter(account__in=self._accounts())

    def event_types(self) -> EventTypeQuerySet:
        ours = Q(account__in=self._accounts()) | Q(account__isnull=True)
        return EventType.objects.filter(ours)

    @property
    def key(self) -> str:
        return f"user:{self.user.pk}"

    def account(self) -> Account:
        if self.chosen is not None:
            return self.chosen
        first_two = list(self.accounts(self.user)[:2])
        if len(first_two) == 1:
            return first_two[0]
        if first_two:
            problem = "You act for several accounts: choose one with ?account=<name>."
        else:
            problem = "You are a member of no account: choose one of yours with ?account=<name>."
        raise invalid({"account": [problem]})

    def refusal(self, need: Need) -> str:
        wanted = [f"webhooks_app.{name}" for name in (need.permission, need.or_permission) if name]
        if any(map(self.user.has_perm, wanted)):
            return ""
        return f"Your user needs the permission {' or '.join(wanted)}."


def bearer(authorization: str) -> str | None:
    """The secret in a header `Authorization: Bearer <secret>` (RFC 6750), spaces around it left
    out; None where the scheme is another one.

    `""`, which no token has, for none at all and for a header too long to hold one: what a stranger
    sends is measured before it is looked at.
    """
    scheme, _, secret = authorization[:HEADER_LIMIT].partition(" ")
    if scheme.lower() != "bearer":
        return None
    return secret.strip(" ") if len(authorization) <= HEADER_LIMIT else ""


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer <access token>`."""

    def authenticate(self, request: Request) -> tuple[Any, Caller] | None:
        secret = bearer(request.META.get("HTTP_AUTHORIZATION", ""))
        if secret is None:
            return None
        token = AccessToken.objects.for_secret(secret)
        if token is None:
            throttling.wrong_token(request._request)
            raise exceptions.AuthenticationFailed(
                "The access token is unknown, revoked or expired."
            )
        caller = TokenCaller.of(token)
        request._request.account_id = token.account_id  # type: ignore[attr-defined]  # for the server
        caller.check_account(request.query_params)
        token.note_use()
        return AnonymousUser(), caller

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class SessionAuthentication(DRFSessionAuthentication):
    """The session of a person, with Django's CSRF check for everything that writes."""

    def authenticate(self, request: Request) -> tuple[Any, Caller] | None:
        found = super().authenticate(request)
        if found is None:
            return None
        user = found[0]
        chosen = _chosen_account(user, request.query_params.get("account"))
        by = Actor.of(user, AuditEntry.Door.API)
        return user, SessionCaller(by=by, masked=True, user=user, chosen=chosen)

    def enforce_csrf(self, request: Request | HttpRequest) -> None:
        # The plain request: DRF's own would parse the body before the caller has been judged.
        super().enforce_csrf(getattr(request, "_request", request))  # type: ignore[arg-type]


def _chosen_account(user: Any, name: str | None) -> Account | None:
    if name is None:
        return None
    if is_account_name(name):
        account = SessionCaller.accounts(user).filter(name=name).first()
        if account is not None:
            return account
    raise Problem(404, NO_ACCOUNT)
