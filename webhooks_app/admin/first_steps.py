"""What is done once on a new site: a webhook, an access token, the first delivery."""

from dataclasses import dataclass

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from ..models import AccessToken, Webhook


@dataclass(frozen=True, slots=True)
class Step:
    done: bool
    title: str
    words: str
    link: str = ""  # where it is done
    button: str = ""
    curl: str = ""


def steps(request: HttpRequest, webhook: Webhook | None, *, sent: bool) -> list[Step]:
    """`webhook` is the newest, None while there is none; `sent`: a delivery was made."""
    return [
        Step(
            webhook is not None,
            "Add a webhook",
            "The URL that is called, and the account that it belongs to. It is verified at once.",
            reverse("admin:webhooks_app_webhook_add"),
            "Add webhook",
        ),
        Step(
            AccessToken.objects.usable().exists(),
            "Make an access token",
            "What your program shows to the API. It is shown once.",
            reverse("admin:webhooks_app_accesstoken_add"),
            "Add access token",
        ),
        Step(
            sent,
            "Send the first delivery",
            "From your program, or from a shell with the token in WEBHOOKS_TOKEN:",
            curl=_curl(request, webhook),
        ),
    ]


def _curl(request: HttpRequest, webhook: Webhook | None) -> str:
    """The call for a shell; `""` before there is a webhook, and in a host without the API."""
    if webhook is None:
        return ""
    try:
        place = reverse("webhooks_app:webhook-deliveries", args=[webhook.pk])
    except NoReverseMatch:
        return ""
    lines = (
        f"curl {request.build_absolute_uri(place)}",
        '-H "Authorization: Bearer $WEBHOOKS_TOKEN"',
        '-H "Content-Type: application/json"',
        """-d '{"hello": "world"}'""",
    )
    return " \\\n  ".join(lines)
