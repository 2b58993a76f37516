"""What lines ask: which keys have news, and what is at their heads."""

import time
from collections.abc import Sequence
from datetime import datetime

from .bodies import Bodies
from .knobs import Knobs
from .line import Found, Question
from .store import Asked, Store


class Heads:
    """Belongs to the thread that reads."""

    def __init__(self, store: Store, bodies: Bodies, knobs: Knobs) -> None:
        self._store = store
        self._bodies = bodies
        self._knobs = knobs

    def find(self, questions: Sequence[Question], now: datetime) -> list[Found]:
        by_webhook = {question.webhook_id: Found(question) for question in questions}
        self._find_news(by_webhook, now)
        for found in by_webhook.values():
            if found.question.scan:
                self._scan(found)
        self._read(by_webhook, now)
        return list(by_webhook.values())

    def _find_news(self, by_webhook: dict[str, Found], now: datetime) -> None:
        since = {
            webhook_id: found.question.since
            for webhook_id, found in by_webhook.items()
            if found.question.since is not None
        }
        if not since:
            return
        most = self._knobs.news_most
        without: set[str] = set()
        for webhook_id, ident, key, has_position in self._store.news(since, now, most):
            news = by_webhook[webhook_id].news
            assert news is not None
            news.append((ident, key))
            if not has_position:
                without.add(webhook_id)
        for webhook_id in since:
            found = by_webhook[webhook_id]
            if len(found.news or ()) == most:
                found.news = None
        for webhook_id in without:
            self._store.adopt(webhook_id, self._knobs.adopted_most)

    def _scan(self, found: Found) -> None:
        started = time.monotonic()
        question, most = found.question, self._knobs.keys_at_once
        if question.adopts:
            adopted = self._store.adopt(question.webhook_id, self._knobs.adopted_most)
            found.adopting = adopted == self._knobs.adopted_most
        if not found.adopting:
            found.keys = self._store.keys(question.webhook_id, question.after, most)
            if len(found.keys) >= most:
                found.upto = found.keys[-1]
        found.seconds = time.monotonic() - started

    def _read(self, by_webhook: dict[str, Found], now: datetime) -> None:
        asked: list[Asked] = []
        for found in by_webhook.values():
            asked += found.question.asked
        if not asked:
            return
        for head in self._store.heads(asked, now):
            by_webhook[head.webhook_id].heads.append(head)
            self._bodies.fill(head.rows)
