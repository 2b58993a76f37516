"""Jobs: one verb for everything that a list shows. Estimated, confirmed, then watched."""

from collections.abc import Mapping
from datetime import timedelta
from html import unescape
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from .. import actions
from ..models import Delivery, Job, Webhook
from ..models.delivery import db_now
from ..models.delivery_filters import CONDITIONS, MOMENTS, STATES
from ..models.job import PACE, PACE_LIMIT
from ..presentation.counts import COUNT_LIMIT
from ..presentation.formatting import badge, duration, moment
from ..presentation.looks import DELIVERY_STATES, State, look
from ..rules import failures
from .assets import FOLLOW_LOOKS
from .base import ReadOnlyAdmin, named, url_of
from .changelist import Page
from .filters import SPANS, BeforeFilter
from .job_outcome import NAMED, Outcome, is_watched, likely_to_fail, outcome_of, parts, verdict
from .moments import for_field, said

JOB_STATES = {
    "running": State("running", "Running", "retry", "warn"),
    "paused": State("paused", "Paused", "pause", "idle"),
    "stopped": State("stopped", "Stopped", "off", "idle"),
    "done": State("done", "Done", "send", "idle"),  # what came of it, its page says
}
VERBS = {"retry": "Replay", "cancel": "Cancel"}
REPLAYED = {"": "at any time", "7d": "in 7 days", "24h": "in 24 hours", "1h": "in the last hour"}
GAVE_UP = {"failed_since", "failed_until"}


def words_of(query: QueryDict) -> dict[str, str]:
    """The words of a selection in a query string; spans ("24h") become moments, spaces go."""
    words = {name: query.get(name, "").strip() for name in CONDITIONS}
    span = SPANS.get(query.get("created", ""))
    if span and not words["since"]:
        words["since"] = stamp(span)
    for name in MOMENTS:
        if words[name] in SPANS:
            words[name] = stamp(SPANS[words[name]])
    return {name: value for name, value in words.items() if value}


def stamp(span: timedelta) -> str:
    return (db_now() - span).isoformat(timespec="seconds").replace("+00:00", "Z")


def label_of(verb: str, words: Mapping[str, str]) -> str:
    """What a verb is called over a selection: what gave up is replayed."""
    replayed = words.get("state") == Delivery.State.FAILED or GAVE_UP & set(words)
    return "Replay" if verb == Job.Verb.RETRY and replayed else VERBS.get(verb, verb.capitalize())


def replays_of(words: Mapping[str, str], chosen: str) -> list[tuple[str, str, bool]]:
    """Since when deliveries are replayed: words, link, whether it is the one that is shown."""
    others = {name: words[name] for name in words if name not in ("state", *GAVE_UP)}
    links = {
        span: add_url(Job.Verb.RETRY, {**others, "failed_since": span}) for span in REPLAYED if span
    }
    links[""] = add_url(Job.Verb.RETRY, {**others, "state": Delivery.State.FAILED})
    return [(said, links[span], span == chosen) for span, said in REPLAYED.items()]


def names_of(*selections: Mapping[str, str]) -> dict[str, str]:
    """The names of the webhooks in some selections."""
    ids = {words["webhook"] for words in selections if "webhook" in words}
    rows = Webhook.objects.filter(pk__in=ids).only("name") if ids else ()
    return {row.pk: str(row) for row in rows}


def sentence(
    words: Mapping[str, str], names: Mapping[str, str] | None = None, *, plain: bool = False
) -> SafeString:
    """What a selection holds, as a person would say it; `names` as of `names_of`. Plain, for the
    title of a page: without its moments, which no script says in the reader's own zone there."""
    parts: list[SafeString | str] = []
    if plain:
        words = {name: value for name, value in words.items() if name not in MOMENTS}
    which: list[SafeString | str] = []
    if "webhook" in words:
        names = names_of(words) if names is None else names
        which.append(f"of {names.get(words['webhook'], 'a webhook')}")
    if "account" in words:
        which.append(f"of the account {words['account']}")
    if "host" in words:
        which.append(f"to {words['host']}")
    which += _in_state(words)
    if "kind" in words:
        parts.append(f"that met “{failures.title(words['kind']) or words['kind']}”")
    if "status" in words:
        none = words["status"] == "none"
        parts.append("without an answer" if none else f"last answered {words['status']}")
    if "type" in words:
        parts.append(f"of the event type {words['type']}")
    if "event" in words:
        parts.append(f"of the event {words['event']}")
    if "reference" in words:
        parts.append(f"with the reference {words['reference']}")
    if "payload" in words:
        parts.append(f"whose payload holds “{words['payload']}”")
    if "since" in words:
        parts.append(format_html("made since {}", said(words["since"])))
    if "until" in words:
        parts.append(format_html("made before {}", said(words["until"])))
    if not which:
        which, parts = parts[:1], parts[1:]
    first = format_html_join(" ", "{}", ((part,) for part in ("deliveries", *which)))
    return format_html_join(", ", "{}", ((part,) for part in (first, *parts)))


def _in_state(words: Mapping[str, str]) -> list[SafeString | str]:
    """What gave up, and when; or the state."""
    when = [
        format_html("{} {}", word, said(words[name]))
        for name, word in (("failed_since", "since"), ("failed_until", "before"))
        if name in words
    ]
    found: list[SafeString | str] = []
    if "state" in words and words["state"] != Delivery.State.FAILED:
        found.append(f"in the state “{_state_word(words['state'])}”")
    elif "state" in words and not when:
        found.append("that gave up")
    if when:
        moments = format_html_join(" and ", "{}", ((part,) for part in when))
        found.append(format_html("that gave up {}", moments))
    return found


def _state_word(key: str) -> str:
    if key in DELIVERY_STATES:
        return DELIVERY_STATES[key].word
    return {"pending": "Not finished", "due": "Due now"}.get(key, key)


def listed(words: Mapping[str, str]) -> str:
    """The list of just these deliveries."""
    query = urlencode({**words, **({} if "since" in words else {"created": "any"})})
    return reverse("admin:webhooks_app_delivery_changelist") + "?" + query


def add_url(verb: str, words: Mapping[str, str]) -> str:
    return reverse("admin:webhooks_app_job_add") + "?" + urlencode({"verb": verb, **words})


def open_jobs() -> "list[JobView]":
    """What runs or is paused, for a box above the list of deliveries."""
    states = [Job.State.RUNNING, Job.State.PAUSED]
    jobs = list(Job.objects.filter(state__in=states).order_by("-pk")[:3])
    names = names_of(*(job.selection for job in jobs))
    return [JobView(job, names) for job in jobs]


def left(job: Job) -> str:
    """How long it will still take, at the pace so far."""
    spent = db_now() - job.created_at
    if job.state != Job.State.RUNNING or not 0 < job.share < 1:
        return ""
    return duration(spent * ((1 - job.share) / job.share))


def verbed(job: Job) -> str:
    words = {"retry": "queued again", "cancel": "cancelled"}
    return words.get(job.verb, "done")


class JobView:
    """A job as the templates show it."""

    def __init__(
        self, job: Job, names: Mapping[str, str] | None = None, outcome: Outcome | None = None
    ) -> None:
        self.job = job
        self.state = look(JOB_STATES, job.state)
        label = label_of(job.verb, job.selection)
        self.what = format_html("{}: {}", label, sentence(job.selection, names))
        self.title = f"{label}: {unescape(sentence(job.selection, names, plain=True))}"
        self.page = reverse("admin:webhooks_app_job_change", args=[job.pk])
        self.left = left(job)
        self.percent = int(job.share * 100)
        self.verbed = verbed(job)
        self.shows = (
            reverse("admin:webhooks_app_delivery_changelist") + f"?job={job.pk}&created=any"
        )
        self.finished = job.finished_at and moment(job.finished_at)
        self.verdict, self.headline = self.state, self.state.word
        self.watched, self.outcome = is_watched(job, outcome), outcome
        self.parts = parts(job, outcome) if outcome else []
        if outcome and outcome.sent and not job.is_open:
            self.verdict, self.headline = verdict(job, outcome)
            if job.state == Job.State.STOPPED:
                self.headline = f"Stopped. {self.headline}"


class Rows(Page):
    """One page, with the names of all webhooks that its jobs speak of."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: Any = self.result_list
        names = names_of(*(row.selection for row in rows))
        for row in rows:
            row.view = JobView(row, names)


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    list_title = "Jobs"
    empty_words = ("No jobs", "Start one from the list of deliveries: “Replay…”.")
    list_display = ["state_", "job_", "done_", "by_", "created_"]
    list_filter = [BeforeFilter]
    change_form_template = "admin/webhooks_app/job/change_form.html"

    @property
    def media(self) -> forms.Media:
        return super().media + FOLLOW_LOOKS

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[Page]:
        return Rows

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("webhooks_app.view_delivery"))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    @admin.display(description="State")
    def state_(self, job: Job) -> SafeString:
        return badge(look(JOB_STATES, job.state))

    @admin.display(description="Job")
    def job_(self, job: Any) -> SafeString:
        link = '<a class="wh-name wh-row" href="{}"><bdi>{}</bdi></a>'
        return format_html(link, job.view.page, job.view.what)

    @admin.display(description="Done")
    def done_(self, job: Job) -> SafeString:
        of = f" of {job.expected:,}" if job.expected is not None else ""
        words = f"{job.done:,}{of}"
        skipped = verbed(job) + (f", {job.skipped:,} skipped" if job.skipped else "")
        return format_html(
            '<span class="wh-num">{}</span><span class="wh-sub">{}</span>', words, skipped
        )

    @admin.display(description="By")
    def by_(self, job: Job) -> SafeString:
        return format_html("<bdi>{}</bdi>", job.created_by)

    @admin.display(description="Created")
    def created_(self, job: Job) -> Any:
        return moment(job.created_at)

    # --- its page -------------------------------------------------------------------------------

    def page_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        names = names_of(obj.selection)
        view = JobView(obj, names, outcome_of(obj))
        return {
            "title": view.title,
            "subtitle": None,
            "page_state": view.verdict.word,
            "view": view,
            "which": sentence(obj.selection, names),
            "listed": listed(obj.selection),
            "may_operate": self.has_operate_permission(request),
            "pace_limit": PACE_LIMIT,
        }

    def get_urls(self) -> list[URLPattern]:
        site = self.admin_site
        verbs = ("pause", "resume", "stop", "pace")
        return [
            path("add/", site.admin_view(self.create), name="webhooks_app_job_add"),
            *(self.post_view(verb, verb, self.operate, verb=verb) for verb in verbs),
            path(
                "<path:object_id>/progress/",
                site.admin_view(self.progress),
                name="webhooks_app_job_progress",
            ),
            *super().get_urls(),
        ]

    def operate(self, request: HttpRequest, job: Job, verb: str) -> HttpResponse:
        if not self.has_operate_permission(request):
            raise PermissionDenied
        by, pace = named(request), request.POST.get("pace", "")
        try:
            if verb == "pause":
                done, words = actions.pause_job(job, by=by), "The job is paused."
            elif verb == "resume":
                done, words = actions.resume_job(job, by=by), "Resumed: the job goes on."
            elif verb == "stop":
                done, words = actions.stop_job(job, by=by), "Stopped. What it did stays done."
            else:
                number = int(pace) if pace.isascii() and pace.isdecimal() else 0
                done = actions.set_pace(job, number, by=by)
                words = f"The pace is {number:,} a second now."
        except actions.Invalid as error:
            problem = " ".join(error.details.get("pace", [error.message]))
            self.message_user(request, f"Pace: {problem}", messages.ERROR)
            return self.to_page(job)
        if done:
            self.message_user(request, words, messages.SUCCESS)
        else:
            self.message_user(request, "Nothing was changed: the job is past it.", messages.WARNING)
        return self.to_page(job)

    def progress(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The part of its page that changes, for the script that looks again."""
        job = self.get_object(request, object_id)
        if not self.has_view_permission(request, job):
            raise PermissionDenied
        if job is None:
            raise Http404
        context = {"view": JobView(job)}
        response = TemplateResponse(request, "admin/webhooks_app/job/progress.html", context)
        response["Cache-Control"] = "no-store"
        return response

    # --- estimate, confirm, create --------------------------------------------------------------

    def create(self, request: HttpRequest) -> HttpResponse:
        """GET, or a POST without `confirm`: says how many and what cannot be undone. With it:
        makes the job."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        query = request.POST if request.method == "POST" else request.GET
        verb = query.get("verb", Job.Verb.RETRY)
        verb = verb if verb in VERBS else Job.Verb.RETRY
        words, problem, count = words_of(query), "", None
        pace = query.get("pace", str(PACE))
        try:
            if request.method == "POST" and "confirm" in query:
                job = actions.create_job(
                    verb,
                    words,
                    delivered_too="delivered_too" in query,
                    pace=int(pace) if pace.isascii() and pace.isdecimal() else 0,
                    note=query.get("note", "").strip(),
                    by=named(request),
                )
                return self._created(request, job)
            count = actions.matching(words, limit=COUNT_LIMIT)
        except actions.Invalid as error:
            problem = " ".join(line for lines in error.details.values() for line in lines)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": f"{label_of(verb, words)}?",
            "verb": verb,
            "label": label_of(verb, words),
            "replays": replays_of(words, query.get("failed_since", "")),
            "span": self._span(words),
            "doubtful": likely_to_fail(words, db_now(), counted=count is not None)
            if verb == Job.Verb.RETRY and not problem
            else [],
            "named_most": NAMED,
            "words": words,
            "what": sentence(words),
            "count": count,
            "more": count is not None and count > COUNT_LIMIT,
            "limit": COUNT_LIMIT,
            "problem": problem,
            "back": listed(words),
            "pace": pace,
            "pace_limit": PACE_LIMIT,
            "may_hold_delivered": verb == Job.Verb.RETRY
            and not GAVE_UP & set(words)
            and words.get("state", "delivered") == "delivered",
            "only_delivered": words.get("state") == "delivered",
            "unknown_state": words.get("state", "failed") not in STATES,
        }
        return TemplateResponse(request, "admin/webhooks_app/job/create.html", context)

    @staticmethod
    def _span(words: Mapping[str, str]) -> dict[str, Any]:
        """For the form of from and until: when they gave up where that is what is replayed, else
        when they were made; and what else stays."""
        gave_up = label_of(Job.Verb.RETRY, words) == "Replay"
        names = ("failed_since", "failed_until") if gave_up else ("since", "until")
        left_out = {*names, "state"} if gave_up else {*names}
        return {
            "what": "Gave up" if gave_up else "Made",
            "fields": [
                (name, word, for_field(words.get(name, "")))
                for name, word in zip(names, ("from", "until"), strict=True)
            ],
            "others": [pair for pair in words.items() if pair[0] not in left_out],
        }

    def _created(self, request: HttpRequest, job: Job) -> HttpResponse:
        view = JobView(job)
        many = f"{job.expected:,} deliveries" if job.expected is not None else "all that match"
        words = format_html(
            'Started: {}, {}. The worker does it; you may leave this page. <a href="{}">Show '
            "them</a>",
            view.what,
            many,
            view.shows,
        )
        self.message_user(request, words, messages.SUCCESS)
        return HttpResponseRedirect(url_of(self, "change", job.pk))
