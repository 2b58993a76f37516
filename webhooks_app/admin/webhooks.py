"""The page of a webhook: says first how it does and what to do, then lets it be changed."""

import json
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import BooleanField, ExpressionWrapper, OuterRef, Subquery
from django.db.models.functions import Length
from django.db.models.lookups import GreaterThan
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from .. import actions, conf
from ..engine.calls import sample_interaction
from ..fields import WrongKey, is_stored
from ..models import (
    AuditEntry,
    Delivery,
    Header,
    Job,
    Note,
    Webhook,
    WebhookError,
    lines,
    states,
)
from ..models.delivery import db_now
from ..models.states import (
    HELD_FOR,
    SENTENCES,
    delivery_hold_reason,
    hold_ends_at,
    hold_reason,
)
from ..presentation.banner import SKIP, busy_words, webhook_banner
from ..presentation.charts import SPANS, Bar, Chart, charts_of, span_of
from ..presentation.counts import BoundedCount, bounded
from ..presentation.last_error import url_of_last_error
from ..presentation.latency import last_attempts, of_last_calls
from ..presentation.looks import delivery_state, webhook_state
from ..presentation.outage_words import message_for_owner
from ..presentation.sent_request import sent
from ..presentation.workers import workers
from ..roles import may
from ..rules import schedules
from ..rules.hosts import NO_HOST, host_of
from ..rules.ids import is_id
from ..rules.validators import MASK
from . import links
from .account_field import may_create_account, only_account, stored_account
from .attempts import asked_for
from .base import named, typed_note, url_of
from .credential_fields import Credentials
from .delivery_list import first_with_last_attempts, last_answer
from .error_groups import errors_of
from .finder import Searching
from .header_formset import HeaderInline
from .hosts import AtHost
from .jobs import add_url
from .notes import Noting, notes_in, notes_of
from .outlook import NO_WORKER, kept_back
from .signing import Signing
from .subscriptions import Subscribing
from .webhook_form import WebhookForm
from .webhook_list import DONE, GOES_ON, WebhookList


def is_set(column: str) -> ExpressionWrapper:
    """Whether a secret is stored, without reading it."""
    return ExpressionWrapper(GreaterThan(Length(column), 0), output_field=BooleanField())


@admin.register(Webhook)
class WebhookAdmin(Searching, AtHost, Credentials, Signing, Subscribing, Noting, WebhookList):
    form = WebhookForm
    inlines = [HeaderInline]

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Webhook | None:
        if not is_id(object_id):
            return None
        if (panel := getattr(request, "_subscriptions", None)) is not None:
            known: Webhook = panel.webhook  # read by the view that shows the page again
            return known
        deliveries = Delivery.objects.filter(webhook=OuterRef("pk"))
        pending = deliveries.queued().order_by("due_at").values("due_at")
        # OAuth and certificate are read: what is no secret of them is shown.
        rows = self.get_queryset(request).defer(None).defer("token", "auth_password")
        rows = rows.annotate(
            token_set=is_set("token"),
            password_set=is_set("auth_password"),
            gave_up=BoundedCount.of(deliveries.filter(state=Delivery.State.FAILED)),
            next_due=Subquery(pending[:1]),
            last_attempts=last_attempts(OuterRef("pk")),
            noted=notes_of(Note.Kind.WEBHOOK, OuterRef("pk")),
            **self.signing_columns(),
        )
        shown = request.method == "GET" or "try" in request.POST
        if shown:
            rows = rows.annotate(last_error_url=Subquery(url_of_last_error(OuterRef("pk"))))
        if shown and request.user.has_perm("webhooks_app.view_webhookerror"):
            failed = WebhookError.objects.filter(webhook=OuterRef("pk")).order_by("-pk")
            rows = rows.annotate(last_answer=Subquery(failed.values("answer")[:1]))
        if request.method == "POST" and transaction.get_connection(rows.db).in_atomic_block:
            # A save reads the stored headers and writes them: no other writer in between.
            rows = rows.select_for_update(of=("self",), no_key=True)
        return rows.filter(pk=object_id).first()

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form: Any = super().get_form(request, obj, change, **kwargs)
        form.may_reveal = self.has_reveal_permission(request)
        form.may_create = may_create_account(request)
        return form

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        token, password = "new_token", "new_password"
        more = ["timeout", "max_in_flight", "signature_prefix", "form"]
        schedule = "schedule"
        may_change = obj is None or self.has_change_permission(request, obj)
        if not may_change:
            token, password, schedule = "token_", "password_", "schedule_"
        fields = ["name", "url", token, "auth_username", password, *more]
        new = ["new_account"] if may_create_account(request) else []
        limits = ["rate_limit", schedule, "breaker_after", "breaker_off"]
        return [
            ("Settings", {"fields": fields if obj else ["account", *new, *fields]}),
            ("Limits", {"fields": limits}),
            ("Order", {"fields": ["order", "on_dead"]}),
            self.credentials_fieldset(may_change=may_change),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["account"] if obj else []

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {**only_account(), **super().get_changeform_initial_data(request)}

    @admin.display(description="Token")
    def token_(self, webhook: Any) -> str:
        return f"set: {MASK}" if webhook.token_set else "not set"

    @admin.display(description="Basic auth: password")
    def password_(self, webhook: Any) -> str:
        return f"set: {MASK}" if webhook.password_set else "not set"

    @admin.display(description="Retry schedule")
    def schedule_(self, webhook: Any) -> str:
        return schedules.typed(webhook.delays) or "the site's own"

    def page_context(self, request: HttpRequest, webhook: Any) -> dict[str, Any]:
        now, span = db_now(), span_of(request)
        state = webhook_state(webhook, now)
        host, operate = host_of(webhook.url), self.has_operate_permission(request)
        calls = charts_of([webhook.pk], span, now)[webhook.pk]
        banner = webhook_banner(webhook, now, calls)
        board: dict[str, Any] = {
            "title": str(webhook),
            "subtitle": None,
            "page_state": state.word,
            "webhook": webhook,
            "host": host,
            "host_page": "" if host == NO_HOST else links.host(host),
            "banner": banner,
            "buttons": [(b, busy_words(b, webhook, host)) for b in banner.buttons if operate],
            "may_reveal": self.has_reveal_permission(request),
            "signing": self.signing_context(request, webhook),
            **self.subscriptions_context(request, webhook),
            **self.notes_context(request, webhook, notes_in(webhook.noted)),
            "health": webhook.health,
            "latency": of_last_calls(webhook.last_attempts),
            "spans": SPANS.values(),
            **self._calls(webhook, calls),
        }
        if operate:
            board["curl"] = self._curl(webhook, now)
            board["for_owner"] = message_for_owner(webhook, now)
        if request.user.has_perm("webhooks_app.view_delivery"):
            rows = first_with_last_attempts(states.with_behind(webhook.deliveries.all(), now), 7)
            for delivery in rows:
                delivery.webhook = webhook
            board["heads"] = lines.heads(webhook, now)
            board["operates"] = operate
            board["deliveries"] = [
                (
                    row,
                    delivery_state(row, now),
                    last_answer(row, short=True),
                    HELD_FOR.get(delivery_hold_reason(row, now), ""),
                )
                for row in rows
            ]
            board["waiting"] = bounded(webhook.waiting or 0)
            board["in_flight"] = workers(request).in_flight_of.get(webhook.pk, 0)
            reason = hold_reason(webhook, now)
            after = hold_ends_at(webhook, reason) or now
            board["next_due"] = webhook.next_due and max(webhook.next_due, after)
            board["goes_out"] = reason in ("", "breaker", "rate")
            board["skip_words"] = SKIP.confirm
            tried = [head.next_at for head in board["heads"] if head.next_at]
            held_up = sum(1 + head.behind for head in board["heads"])
            if tried and not reason and held_up == webhook.waiting:
                board["next_due"] = min(tried)  # nothing goes before a head does
            board["gave_up"] = bounded(webhook.gave_up or 0)
            if operate and webhook.gave_up:
                words = {"webhook": webhook.pk, "state": Delivery.State.FAILED}
                board["replay"] = add_url(Job.Verb.RETRY, words)
            if operate and webhook.waiting and not reason:
                words = {"webhook": webhook.pk, "state": "retrying"}
                board["hurry"] = add_url(Job.Verb.RETRY, words)
        if request.user.has_perm("webhooks_app.view_webhookerror"):
            board |= errors_of(webhook, now)
        found = asked_for(request)
        if found and found.webhook_id == webhook.pk:
            board["answer"] = found
        return board

    @staticmethod
    def _curl(webhook: Any, now: datetime) -> str:
        """The sample call of a test for a shell, every secret masked."""
        body = json.dumps(sample_interaction(webhook), indent=2)
        names = getattr(webhook, "header_names", None)  # where the form has read them already
        if names is None:
            names = webhook.headers.order_by("position", "id").values_list("name", flat=True)
        made = sent(
            Delivery(webhook=webhook),
            url=webhook.url,
            at=now,
            size=len(body),
            token_set=webhook.token_set,
            oauth_set=is_stored(webhook, "oauth"),
            identity_set=is_stored(webhook, "identity"),
            header_names=list(names),
        )
        return made.problem or made.curl(body)

    @staticmethod
    def _calls(webhook: Webhook, calls: Chart) -> dict[str, Any]:
        """Success and chart, with the lists that hold what they count."""

        def listed(bar: Bar) -> str:
            return links.calls_of_bar(bar, webhook.pk)

        since: dict[str, Any] = {"webhook": webhook.pk, "since": calls.start}
        return {
            "chart": calls,
            "drawing": calls.drawing(listed),
            "table": [
                (bar, listed(bar), links.failures_of_bar(bar, webhook.pk))
                for bar in reversed(calls.bars)
            ],
            "calls_link": links.calls(**since),
            "failed_link": links.calls("webhookerror", **since),
        }

    # --- saving: by the verbs, headers and all ---------------------------------------------------

    @method_decorator(sensitive_post_parameters())
    @sensitive_variables()
    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        try:
            return super().changeform_view(request, object_id, *args, **kwargs)
        except WrongKey:
            self.message_user(request, SENTENCES["unreadable"], messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def refusal(self, error: actions.ActionError) -> str:
        return SENTENCES["unreadable"] if isinstance(error, actions.NotCallable) else error.message

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        """`save_related` writes the webhook together with its headers."""

    @sensitive_variables()
    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: Any) -> None:
        (headers,) = formsets
        changes = form.changes()
        if headers.changed():
            changes["headers"] = headers.pairs()
        if change:
            actions.update_webhook(form.instance, by=named(request), **changes)
        else:
            account = stored_account(form.cleaned_data["account"], named(request))
            created = actions.create_webhook(account, by=named(request), **changes)
            form.instance.pk = created.pk

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        """The names of what was changed, never a value."""
        if add:
            return [{"added": {}}]
        words = {"auth_password": "password", "auth_username": "user name", "url": "URL"}
        fields = [words.get(field, field.replace("_", " ")) for field in form.changes()]
        if formsets[0].changed():
            fields.append("headers")
        form.instance.changed_words = fields
        return [{"changed": {"fields": fields}}] if fields else []

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: Any = None
    ) -> HttpResponse:
        if "_addanother" in request.POST:
            return super().response_add(request, obj, post_url_continue)
        return self._saved(request, obj, "Added.")

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        words = f"Saved: {', '.join(obj.changed_words)}." if obj.changed_words else ""
        return self._saved(request, obj, words or "Nothing was changed.")

    def _saved(self, request: HttpRequest, webhook: Any, words: str) -> HttpResponse:
        """Back on its page: there it shows what came of the change."""
        webhook.refresh_from_db(fields=["verification_due_at"])
        if webhook.verification == "waiting":
            now = "The worker verifies it now; the outcome shows here."
            later = f"It is verified {NO_WORKER}"
            words = f"{words} {now if workers(request).alive else later}"
        self.message_user(request, words, messages.SUCCESS)
        return self.to_page(webhook)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        actions.delete_webhook(obj, by=named(request))

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: Any) -> HttpResponse:
        undo = url_of(self, "restore", obj_id)
        words = format_html('Deleted “{}”. <a href="{}">Undo…</a>', obj_display, undo)
        self.message_user(request, words, messages.SUCCESS)
        return HttpResponseRedirect(url_of(self, "changelist"))

    def restore(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """GET says what comes back and what does not; POST brings it back."""
        deleted = Webhook.objects.filter(deleted_at__isnull=False).select_related("account")
        row = deleted.filter(pk=object_id).first() if is_id(object_id) else None
        if not may(request.user, "restore_webhook"):
            raise PermissionDenied
        if row is None:
            raise Http404
        if request.method == "POST":
            try:
                actions.restore_webhook(row, by=named(request))
            except actions.Conflict as error:
                self.message_user(request, error.message, messages.ERROR)
                return HttpResponseRedirect(url_of(self, "changelist"))
            words = "It is back, paused. Enter its secrets and headers, verify it, then resume it."
            self.message_user(request, words, messages.SUCCESS)
            return self.to_page(row)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": "Bring back?",
            "webhook": row,
            "kept_until": row.deleted_at and row.deleted_at + conf.settings.retention,
        }
        return TemplateResponse(request, "admin/webhooks_app/webhook/restore.html", context)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Nothing but the webhook: its history stays, and is never loaded to be counted."""
        return [str(obj) for obj in objs], {"webhooks": len(objs)}, set(), []

    # --- own views ------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        verbs = [
            self.post_view(verb, verb.replace("-", "_"), self.operate, verb=verb) for verb in DONE
        ]
        restore = self.admin_site.admin_view(self.restore)
        return [
            *verbs,
            self.post_view("reveal", "reveal", self.reveal),
            *self.signing_urls(),
            *self.subscriptions_urls(),
            *self.note_urls(),
            path("<path:object_id>/restore/", restore, name="webhooks_app_webhook_restore"),
            *super().get_urls(),
        ]

    def has_reveal_permission(self, request: HttpRequest) -> bool:
        return may(request.user, "reveal")

    def operate(self, request: HttpRequest, webhook: Webhook, verb: str) -> HttpResponse:
        if not may(request.user, verb.replace("-", "_")):
            raise PermissionDenied
        by, attempt = named(request), None
        try:
            if verb == "verify":
                attempt = actions.verify(webhook, by=by)
            elif verb == "test":
                attempt = actions.test(webhook, by=by)
            elif verb == "pause":
                actions.pause(webhook, note=typed_note(request), by=by)
            elif verb == "enable":
                actions.enable(webhook, by=by)
            elif verb == "close-breaker":
                actions.close_breaker(webhook, by=by)
            else:
                actions.clear_error(webhook, by=by)
        except actions.ActionError as error:
            self.message_user(request, error.message, messages.ERROR)
            return self.to_page(webhook)
        if words := DONE[verb]:
            if verb in GOES_ON:
                words = f"{words} {kept_back(request, [webhook.pk]) or GOES_ON[verb]}"
            self.message_user(request, words, messages.SUCCESS)
        return self.to_page(webhook, f"?attempt={attempt.pk}#answer" if attempt else "")

    @sensitive_variables()
    def reveal(self, request: HttpRequest, webhook: Webhook) -> HttpResponse:
        """One secret on a page of its own: by POST, logged without the value, never cached."""
        if not self.has_reveal_permission(request):
            raise PermissionDenied
        try:
            label, secret = self._secret(webhook, request.POST.get("secret", ""))
        except (WrongKey, actions.NotCallable):
            self.message_user(request, SENTENCES["unreadable"], messages.ERROR)
            return self.to_page(webhook)
        if not secret:
            self.message_user(request, "There is no such secret any more.", messages.WARNING)
            return self.to_page(webhook)
        AuditEntry.objects.note(named(request), f"Revealed the {label}.", webhook)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": "Secret revealed",
            "webhook": webhook,
            "label": label,
            "secret": secret,
        }
        response = TemplateResponse(request, "admin/webhooks_app/webhook/revealed.html", context)
        response["Cache-Control"] = "no-store"
        return response

    @staticmethod
    @sensitive_variables()
    def _secret(webhook: Webhook, which: str) -> tuple[str, str]:
        """What it is called, and its text. Raises WrongKey, NotCallable."""
        kind, _, number = which.partition("-")
        if which == "token":
            return "token", webhook.token
        if which == "password":
            return "password", webhook.auth_password
        if which == "client-secret":
            return "client secret", Credentials.client_secret(webhook)
        if which == "signing":
            return "signing secret", actions.reveal_secret(webhook)
        if kind == "header" and number.isdecimal() and len(number) < 19:
            header = Header.objects.filter(webhook=webhook, pk=number).first()
            if header:
                return f"header {header.name}", header.value
        return "", ""
