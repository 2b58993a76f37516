"""What the standalone site does before Django's own middleware."""

from collections.abc import Callable
from io import BytesIO

from django.http import HttpRequest, HttpResponse, JsonResponse

from webhooks_app.api.errors import envelope

OPERATIONS = frozenset(("/healthz", "/readyz", "/metrics"))
STRANGERS_LIMIT = 16 * 1024  # bytes of a form by somebody who is not logged in
TOO_LARGE = "Log in before you send more than 16 KiB."

Handler = Callable[[HttpRequest], HttpResponse]


def any_host(get_response: Handler) -> Handler:
    """The three addresses of operations answer whoever reaches them: a load balancer asks by
    address, or in HTTP/1.0 without a Host. What they say depends on no host."""

    def handle(request: HttpRequest) -> HttpResponse:
        if request.path_info in OPERATIONS:
            request.get_host = lambda: "localhost"  # type: ignore[method-assign]
        return get_response(request)

    return handle


class StrangersForms:
    """A form by somebody who is not logged in is the log-in's. Before it the CSRF check reads the
    form of whoever comes with a cookie of its shape: so its size is judged first.

    The API judges its callers itself, and reads no body of a stranger.
    """

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: object, args: object, kwargs: object
    ) -> HttpResponse | None:
        if getattr(view, "csrf_exempt", False) or _size(request) <= STRANGERS_LIMIT:
            return None
        if request.user.is_authenticated:
            return None
        return JsonResponse(envelope(413, TOO_LARGE), status=413)


def _size(request: HttpRequest) -> int:
    """Of the body, which `project/serving.py` has read; elsewhere what was declared."""
    stream = getattr(request, "_stream", None)
    if isinstance(stream, BytesIO):
        return stream.getbuffer().nbytes
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0
