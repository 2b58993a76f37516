"""What the screens share: lists that never count a table, views that only POST reaches."""

from collections.abc import Callable
from functools import update_wrapper, wraps
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.options import ModelAdmin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import IntegrityError, models, router, transaction
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseRedirect,
    JsonResponse,
)
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods

from ..actions import ActionError
from ..models import Actor, AuditEntry, Webhook, database_file, sequences
from ..models.delivery_filters import unfit
from ..presentation.counts import COUNT_LIMIT, bounded
from ..roles import may
from ..rules.ids import read_moment
from ..rules.safe_text import shown
from .assets import LOOKS
from .changelist import SIEVED, Page
from .door import seen, without_nul
from .export import Exporting
from .filters import CreatedFilter, is_place
from .sorting import Sort

HISTORY_SHOWN = 100
WORDS_LIMIT = 20  # of a search


def url_of(model_admin: "ConsoleAdmin", name: str, *args: Any) -> str:
    opts = model_admin.opts
    return reverse(
        f"{model_admin.admin_site.name}:{opts.app_label}_{opts.model_name}_{name}", args=args
    )


def named(request: HttpRequest) -> str:
    """Who asks, for the record."""
    return Actor.of(request.user, AuditEntry.Door.ADMIN)


def typed_note(request: HttpRequest) -> str:
    """The reason that was typed into a question, as far as it is kept."""
    return request.POST.get("note", "").strip()[:255]


def plural(noun: str) -> str:
    return f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"


def counted(verb: str, noun: str, count: int) -> str:
    """ "Pause 3 webhooks"."""
    return f"{verb} {count:,} {noun if count == 1 else plural(noun)}"


class OnePage(Paginator):
    """Looks one row past the page instead of counting the table."""

    @cached_property
    def keys(self) -> list[Any]:
        rows: Any = self.object_list
        return list(rows[: self.per_page + 1].values_list("pk", flat=True))

    @cached_property
    def count(self) -> int:
        return len(self.keys)


def _acknowledged(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Answers 503 where what a view did or shows is in a file that nobody will read again."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            response = view(request, *args, **kwargs)
            database_file.check(router.db_for_write(Webhook))
        except database_file.Replaced:
            return HttpResponse(database_file.REPLACED, status=503, content_type="text/plain")
        except IntegrityError as error:
            if not sequences.is_behind(error):
                raise
            sequences.catch_up()
            return HttpResponse(sequences.WORDS, status=503, content_type="text/plain")
        return response

    return answer


class ConsoleAdmin(Exporting, ModelAdmin):
    """A screen of the console. Lists are newest first and go on by `?before=`, never by number."""

    @property
    def media(self) -> forms.Media:
        return super().media + LOOKS

    paginator = OnePage
    list_per_page = 50
    list_max_show_all = 0
    list_display_links = None
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions_selection_counter = True
    ordering = ["-pk"]
    list_filter: ClassVar[Any] = []
    moment_field = "created_at"  # when a row was made
    adds_another = True  # whether a form for the next one may follow
    sieved = SIEVED
    sorts: tuple[Sort, ...] = ()
    list_title = ""
    empty_words = ("Nothing here yet", "")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[Page]:
        return Page

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """What a link fills in; a moment as the API takes it, and what is none stays out."""
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        for field in self.opts.fields:
            if isinstance(field, models.DateTimeField) and field.name in initial:
                try:
                    initial[field.name] = read_moment(initial[field.name])
                except ValueError:
                    del initial[field.name]
        return initial

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        if not is_place(self.model, object_id):
            return None
        # Django takes an empty `_to_field` for the name of one.
        return super().get_object(request, object_id, from_field or None)

    def reads_payloads(self, request: HttpRequest) -> bool:
        """Whether the list looks into payloads."""
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        """Django asks for each word of a search by itself: so many that no database takes them."""
        if unfit(search_term) or len(search_term.split()) > WORDS_LIMIT:
            return queryset.none(), False
        return super().get_search_results(request, queryset, search_term)

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        """No bulk delete: the stock one reads everything that hangs on the rows.
        `action_location` is given by Django 6.1 and later."""
        where = () if action_location is None else (action_location,)
        actions: dict[str, Any] = super().get_actions(request, *where)
        actions.pop("delete_selected", None)
        return actions

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        """Lists are filtered by their own filters alone: no `?token__startswith=` of any kind."""
        if lookup in {choice.parameter_name for choice in self.list_filter}:
            return True
        # Django's own words would go into the log as they came.
        raise DisallowedModelAdminLookup(f"There is no filter {shown(lookup[:100])}.")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        title, hint = self.empty_words
        context = {"title": self.list_title, "empty_title": title, "empty_hint": hint}
        if self.csv_columns:
            context["csv"] = f"export/?{request.GET.urlencode()}"
        by_time = any(issubclass(choice, CreatedFilter) for choice in self.list_filter)
        if by_time and request.GET.get("created") != "any":
            wider = request.GET.copy()
            wider.pop("before", None)
            wider["created"] = "any"
            context["wider"] = "?" + wider.urlencode()
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """What a verb refuses, and would have taken while the form was judged, is told."""
        try:
            return super().changeform_view(request, object_id, *args, **kwargs)
        except ActionError as error:
            self.message_user(request, self.refusal(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def refusal(self, error: ActionError) -> str:
        return error.message

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """What was done to it by any door, as the audit log has it."""
        done = AuditEntry.objects.filter(kind=self.opts.model_name, target=unquote(object_id))
        context: dict[str, Any] = {"media": self.media, "done": done[:HISTORY_SHOWN]}
        if request.user.has_perm("webhooks_app.view_auditentry"):
            changes = reverse(f"{self.admin_site.name}:webhooks_app_auditentry_changelist")
            context["changes"] = f"{changes}?target={quote(object_id)}"
        return super().history_view(request, object_id, {**context, **(extra_context or {})})

    def page_context(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        """What the page of a row says beside its form."""
        return {}

    def render_change_form(
        self,
        request: HttpRequest,
        context: Any,
        add: Any = False,
        change: Any = False,
        form_url: Any = "",
        obj: Any = None,
    ) -> Any:
        if obj is not None:
            context.update(self.page_context(request, obj))
        # One button saves what is there already.
        context.setdefault("show_save_and_add_another", self.adds_another and not change)
        context["show_save_and_continue"] = False
        return super().render_change_form(request, context, add, change, form_url, obj)

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return may(request.user, "retry")

    @property
    def urls(self) -> list[URLPattern]:
        patterns: list[URLPattern] = super().urls
        for pattern in patterns:
            pattern.callback = without_nul(seen(_acknowledged(pattern.callback)))
        return patterns

    def post_view(
        self, route: str, name: str, view: Callable[..., HttpResponse], **initial: Any
    ) -> URLPattern:
        """A path where a POST of staff does something. `view` judges the permission by itself.

        A GET leads to the page of the row: whoever has to log in first comes back by GET. `view`
        runs outside of ATOMIC_REQUESTS: what calls out must not hold a transaction.
        """

        def answer(request: HttpRequest, object_id: str, **kwargs: Any) -> HttpResponse:
            row = self.get_object(request, unquote(object_id))
            if not self.has_view_or_change_permission(request, row):
                raise PermissionDenied
            if row is None:
                raise Http404
            if request.method != "POST":
                return self.to_page(row)
            return view(request, row, **kwargs)

        answer = update_wrapper(require_http_methods(["GET", "HEAD", "POST"])(answer), view)
        answer = self.admin_site.admin_view(answer)
        label = f"{self.opts.app_label}_{self.opts.model_name}_{name}"
        return path(
            f"<path:object_id>/{route}/", transaction.non_atomic_requests(answer), initial, label
        )

    def to_page(self, row: models.Model, query: str = "") -> HttpResponseRedirect:
        return HttpResponseRedirect(url_of(self, "change", row.pk) + query)

    def asked_first(
        self,
        request: HttpRequest,
        rows: Any,
        verb: str,
        noun: str,
        words: str,
        *,
        note: bool = False,
    ) -> HttpResponse | None:
        """The page that says what an action would do to these rows, and may ask for the reason;
        None once it was confirmed."""
        if "confirmed" in request.POST:
            return None
        here = request.get_full_path()
        return self.question(
            request,
            rows,
            counted(verb, noun, len(rows)),
            words,
            crumbs=[(here, self.list_title)],
            place=here,
            action=request.POST["action"],
            note=note,
        )

    def question(
        self,
        request: HttpRequest,
        rows: Any,
        said: str,
        words: str,
        *,
        crumbs: list[tuple[str, str]],
        place: str,
        action: str = "",
        note: bool = False,
        where: str = "",
    ) -> HttpResponse:
        """Asks whether what is `said` is to be done to these rows. It is posted to `place`, as the
        `action` of a list where there is one; `crumbs` lead back."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": f"{said}{where}?",
            "said": said,
            "words": words,
            "note": note,
            "rows": rows,
            "cut": not action and len(rows) == COUNT_LIMIT,
            "action": action,
            "place": place,
            "crumbs": crumbs,
            "back": crumbs[-1][0],
        }
        return TemplateResponse(request, "admin/webhooks_app/confirm.html", context)

    def linked(self, rows: list[Any]) -> SafeString:
        """ "3 deliveries", with the list of just those; of one its page."""
        noun = str(self.opts.verbose_name if len(rows) == 1 else self.opts.verbose_name_plural)
        place = url_of(self, "change", rows[0].pk) if len(rows) == 1 else url_of(self, "changelist")
        query = "" if len(rows) == 1 else f"?id={','.join(str(row.pk) for row in rows)}"
        return format_html('<a href="{}{}">{} {}</a>', place, query, f"{len(rows):,}", noun)

    def few(self, request: HttpRequest, queryset: Any, limit: int = COUNT_LIMIT) -> list[Any]:
        """The chosen rows; none, and a message, when there are more than one request may handle."""
        rows = list(queryset[: limit + 1])
        if len(rows) > limit:
            words = f"Nothing was done: choose at most {limit:,} at once."
            self.message_user(request, words, messages.ERROR)
            return []
        return rows


class LiveUpdates(ConsoleAdmin):
    """A list that says how many are new while somebody reads it, and never moves a row."""

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        wide = request.GET.copy()
        wide.pop("before", None)
        context = {
            "newer": f"newer/?{wide.urlencode()}",
            "first_page": "before" not in request.GET,
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def get_urls(self) -> list[URLPattern]:
        newer = self.admin_site.admin_view(self.newer)
        name = f"{self.opts.app_label}_{self.opts.model_name}_newer"
        return [path("newer/", newer, name=name), *super().get_urls()]

    def newer(self, request: HttpRequest) -> HttpResponse:
        """How many match that are newer than `?after=<id>`; the list asks while it is followed."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        request.GET = query = request.GET.copy()  # type: ignore[assignment]
        after = query.pop("after", [""])[0]
        if not is_place(self.model, after):
            return JsonResponse({"error": "after must be an id"}, status=400)
        changes: Any = self.get_changelist_instance(request)
        rows = changes.get_queryset(request).filter(pk__gt=after)
        count = rows.order_by()[: COUNT_LIMIT + 1].count()
        words = bounded(count)
        if changes.edge is not None and changes.model._meta.pk.to_python(after) < changes.edge:
            words = f"{count:,}+"  # between the two nothing was looked at
        response = JsonResponse({"count": words})
        response["Cache-Control"] = "no-store"
        return response


class ReadOnlyAdmin(ConsoleAdmin):
    """History: looked at by whoever may view it, changed by nobody."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
