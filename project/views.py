"""The front door of the standalone site. It holds no secrets and asks the database nothing."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static

from webhooks_app.api.operations import only_read


@only_read
def home(request: HttpRequest) -> HttpResponse:
    return render(request, "home.html")


@only_read
def favicon(request: HttpRequest) -> HttpResponse:
    """Browsers ask for it beside any page, the API's JSON too."""
    return redirect(static("project/favicon.svg"))
