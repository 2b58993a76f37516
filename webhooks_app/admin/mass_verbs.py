"""One verb for the webhooks that were ticked: what it would do is asked first, with the reason."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import OuterRef
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html

from .. import actions
from ..models import Delivery, Job, Webhook, states
from ..models.delivery import db_now
from ..presentation.counts import BoundedCount, bounded
from .base import ConsoleAdmin, named, typed_note
from .outlook import kept_back

JOBS_AT_ONCE = 20  # a job for each webhook
HELD = "Nothing is sent to them until somebody resumes them; deliveries are kept and wait."
RESUMED = (
    "What waits for them goes out, the oldest first. One that was stopped because its receiver is "
    "gone or fails is called again, too."
)
# Of a verb: its word, what of the deliveries of a webhook it takes, what is said of those, and what
# follows.
JOBS = {
    "replay": (
        "Replay",
        (Job.Verb.RETRY, "failed"),
        "gave up",
        "Each becomes due at once and is tried anew by its retry schedule. What has been sent "
        "cannot be called back.",
    ),
    "retry": (
        "Retry",
        (Job.Verb.RETRY, "retrying"),
        "wait for their next try",
        "They become due at once.",
    ),
    "cancel": (
        "Cancel",
        (Job.Verb.CANCEL, "pending"),
        "wait",
        "They are given up and not sent. A cancelled delivery can be retried later.",
    ),
}


class MassVerbs(ConsoleAdmin):
    @admin.action(description="Pause…", permissions=["operate"])
    def pause_(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        rows = self.few(request, queryset)
        if rows and (page := self.asked_first(request, rows, "Pause", "webhook", HELD, note=True)):
            return page
        for webhook in rows:
            actions.pause(webhook, note=typed_note(request), by=named(request))
        if rows:
            words = format_html("Paused: {}. Deliveries are kept and wait.", self.linked(rows))
            self.message_user(request, words, messages.SUCCESS)
        return None

    @admin.action(description="Resume…", permissions=["operate"])
    def enable_(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        rows = self.few(request, queryset)
        ask = self.asked_first
        if rows and (page := ask(request, rows, "Resume", "webhook", RESUMED, note=True)):
            return page
        for webhook in rows:
            actions.enable(webhook, note=typed_note(request), by=named(request))
        if rows:
            goes_on = kept_back(request, [row.pk for row in rows]) or "What waits goes out."
            words = format_html("Resumed: {}. {}", self.linked(rows), goes_on)
            self.message_user(request, words, messages.SUCCESS)
        return None

    @admin.action(description="Replay what gave up…", permissions=["operate"])
    def replay_(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self._jobs(request, queryset, "replay")

    @admin.action(description="Retry what waits, now…", permissions=["operate"])
    def retry_(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self._jobs(request, queryset, "retry")

    @admin.action(description="Cancel what waits…", permissions=["operate"])
    def cancel_(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self._jobs(request, queryset, "cancel")

    def _jobs(self, request: HttpRequest, queryset: Any, key: str) -> HttpResponse | None:
        """A job for each webhook that has something for it to do."""
        word, (verb, state), which, follows = JOBS[key]
        rows = self.few(request, queryset, JOBS_AT_ONCE)
        if not rows:
            return None
        counts = counted(rows, state)
        some = [row for row in rows if counts[row.pk]]
        if not some:
            self.message_user(request, f"None of them has deliveries that {which}.")
            return None
        many = bounded(sum(counts.values()))
        ask = f"{many} of their deliveries {which}. {follows}"
        if page := self.asked_first(request, some, word, "webhook", ask, note=True):
            return page
        for webhook in some:
            words = {"webhook": webhook.pk, "state": state}
            actions.create_job(verb, words, note=typed_note(request), by=named(request))
        text = "Started: {} for {}, a job each. The worker does it. {} {}"
        jobs = reverse("admin:webhooks_app_job_changelist")
        show = format_html('<a href="{}">Show the jobs</a>', jobs)
        later = kept_back(request, [row.pk for row in some]) if verb == Job.Verb.RETRY else ""
        said = format_html(text, word.lower(), self.linked(some), show, later)
        self.message_user(request, said, messages.SUCCESS)
        return None


def counted(rows: list[Webhook], state: str) -> dict[str, int]:
    """How many deliveries of each webhook are in a state; no more are counted than are told."""
    found = Delivery.objects.filter(states.deliveries_in(state, db_now()))
    counts = Webhook.objects.filter(pk__in=[row.pk for row in rows]).annotate(
        found=BoundedCount.of(found.filter(webhook=OuterRef("pk")))
    )
    return dict(counts.values_list("pk", "found"))
