"""What becomes of what a person let go on: nothing is promised that the state of a webhook or a
missing worker prevents."""

from collections.abc import Iterable

from django.http import HttpRequest

from ..models import Webhook
from ..models.delivery import db_now
from ..models.states import HOLDS, SENTENCES, hold_reason
from ..models.webhook import SECRETS
from ..presentation.workers import workers

NO_WORKER = "as soon as a worker runs; none is alive."


def kept_back(request: HttpRequest, webhooks: Iterable[str]) -> str:
    """Why what waits for these webhooks (ids) does not go out now, by their rows as they are by
    then; `""` when it does."""
    now = db_now()
    rows = Webhook.objects.filter(pk__in=set(webhooks)).select_related("health")
    rows = rows.defer(*SECRETS)
    reasons = [hold_reason(row, now) for row in rows]
    held = [reason for reason in reasons if reason]
    if not held:
        return "" if workers(request).alive else f"It is sent {NO_WORKER}"
    if len(reasons) == 1:
        return f"{SENTENCES[held[0]]} What waits is kept."
    words = {state.word.lower() for state in HOLDS if state.reason in held}
    count = f"{len(held):,} of {len(reasons):,} webhooks"
    return f"Nothing goes to {count} now ({', '.join(sorted(words))}); what waits for them is kept."
