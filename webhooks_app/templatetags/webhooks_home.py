"""The home page as a tag, so that every AdminSite can show it: no site is replaced or wrapped."""

from typing import Any

from django import template

from ..models import site

register = template.Library()
SOUGHT = ("delivery", "event", "webhook", "account", "attempt")


@register.simple_tag(takes_context=True)
def health_board(context: Any) -> Any:
    """What the home page says, the same object all over a page; None for whoever may not view
    webhooks."""
    from ..admin.home import Home  # a host without the admin loads tags too

    request = context["request"]
    if not hasattr(request, "_webhooks_home"):
        may = request.user.has_perm("webhooks_app.view_webhook")
        request._webhooks_home = Home(request) if may else None
    return request._webhooks_home


@register.inclusion_tag("admin/webhooks_app/search_box.html", takes_context=True)
def search_box(context: Any) -> dict[str, Any]:
    """One search for everything, for the head of a page; once a page, and nothing for whoever may
    see none of it."""
    from django.urls import NoReverseMatch, reverse

    request = context.get("request")
    if request is None or not context.get("has_permission") or hasattr(request, "_webhooks_box"):
        return {"place": ""}
    request._webhooks_box = True
    if not any(request.user.has_perm(f"webhooks_app.view_{name}") for name in SOUGHT):
        return {"place": ""}
    try:
        return {"place": reverse("admin:webhooks_app_webhook_search")}
    except NoReverseMatch:
        return {"place": ""}


@register.inclusion_tag("admin/webhooks_app/alarm.html", takes_context=True)
def worker_alarm(context: Any) -> dict[str, Any]:
    """A red banner while the site is held or no worker is alive; once a page, whoever asks for it
    first."""
    from ..actions import site_hold
    from ..presentation.workers import workers

    request = context.get("request")
    if request is None or not context.get("has_permission") or hasattr(request, "_webhooks_alarm"):
        return {"silent": False}
    request._webhooks_alarm = True
    seen = workers(request)
    return {
        "hold": site_hold() if site.is_held() else None,
        "silent": not seen.alive,
        "last_sign": seen.last_sign,
    }
