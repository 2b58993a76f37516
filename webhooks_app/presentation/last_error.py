"""Where a webhook met its last error: at the URL that it has, or at another one that it had."""

from typing import Any

from ..engine.http.message import without_token
from ..models import Attempt, Webhook, WebhookError

ELSEWHERE = "was met at another URL than the present one"


def url_of_last_error(webhook: Any) -> Any:
    """Of a webhook, or of an outer query's: the URL as the history has it. A call for an access
    token went to its server, and the call that it was for stands behind it."""
    rows = WebhookError.objects.filter(webhook=webhook).exclude(exchange=Attempt.Exchange.TOKEN)
    return rows.order_by("-pk").values_list("url", flat=True)[:1]


def is_elsewhere(webhook: Webhook, url: str | None) -> bool:
    """Whether an error was met at another URL; not where nothing is known of it any more."""
    return bool(url) and url != without_token(webhook.url)
