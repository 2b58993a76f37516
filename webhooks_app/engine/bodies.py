"""What deliveries of events send: read once, however many deliveries share it.

A claim brings neither payload nor type of an event: joined to each of its deliveries they would be
read as often. The reader reads those it does not have yet, all of a claim in one statement.
"""

from collections import OrderedDict
from collections.abc import Sequence

from ..models import Event, EventBody
from ..rules import forms
from .fanout import told
from .http.message import event_lines
from .store import CARRIED_MOST, Claimed, EventLines, Store

KEPT_BYTES = 32 * 1024 * 1024
KEPT_LARGE = 64  # of more than CARRIED_MOST bytes
_OVERHEAD = 512  # bytes that an entry takes beside its body

_E, _B = Event._meta.db_table, EventBody._meta.db_table

Key = tuple[str, str]  # event and form
_KEYS = (("event", "text"), ("form", "text"))
# Event, form, type, content type and body; no body that is larger than `most` bytes.
_BODY = f"CASE WHEN r.form = '{forms.PAYLOAD}' THEN e.payload ELSE b.payload END"
_SELECT = f"""
    SELECT r.event, r.form, e.type, COALESCE(b.content_type, ''),
           CASE WHEN length({_BODY}) <= {{most}} THEN {_BODY} END
    FROM {{rows}}
    JOIN {_E} e ON e.id = r.event
    LEFT JOIN {_B} b ON b.event_id = r.event AND b.form = r.form
    WHERE r.form = '{forms.PAYLOAD}' OR b.form IS NOT NULL"""


class Bodies:
    """The last bodies that were read. Used by one thread, on its connection."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # None in place of a large body that was met and not needed yet.
        self._kept: OrderedDict[Key, tuple[EventLines, bytes | None]] = OrderedDict()
        self._size = self._large = 0

    def fill(self, claimed: Sequence[Claimed]) -> None:
        """Give these claimed deliveries the bodies that they send; large bodies are left for
        `payload`."""
        of_events = [row for row in claimed if row.event_id is not None]
        if not of_events:
            return
        wanted = {(row.event_id or "", row.form): None for row in of_events}
        found = {key: self._kept[key] for key in wanted if key in self._kept}
        for key in found:
            self._kept.move_to_end(key)
        if missing := [key for key in wanted if key not in found]:
            found |= self._read(missing, CARRIED_MOST)
        for row in of_events:
            if (entry := found.get((row.event_id or "", row.form))) is not None:
                row.of, body = entry
                row.body = body if body is not None and len(body) <= CARRIED_MOST else None

    def payload(self, row: Claimed) -> bytes:
        """The body of a claimed delivery that is sent now, because it is large. Raises DoesNotExist
        when the body was removed meanwhile."""
        if row.event_id is None:
            return self._store.payload(row.id)
        key = row.event_id, row.form
        entry = self._kept.get(key)
        if entry is None or entry[1] is None:
            entry = self._read([key]).get(key)
        if entry is None or entry[1] is None:
            raise Event.DoesNotExist
        row.of = entry[0]
        return entry[1]

    def _read(
        self, keys: Sequence[Key], most: int = 2**31 - 1
    ) -> dict[Key, tuple[EventLines, bytes | None]]:
        found = {}
        sql = _SELECT.replace("{most}", str(most))
        for event_id, form, type, content_type, body in self._store.select(sql, _KEYS, keys):
            body = None if body is None else bytes(body)
            found[event_id, form] = entry = event_lines(event_id, type, content_type), body
            self._keep((event_id, form), entry)
        return found | self._made([key for key in keys if key not in found], most)

    def _made(self, keys: Sequence[Key], most: int) -> dict[Key, tuple[EventLines, bytes | None]]:
        """The bodies in forms that were not known to the process that published the event."""
        known = [key for key in keys if forms.is_known(key[1])]
        if not known:
            return {}
        rows = Event.objects.using(self._store.connection.alias).select_related("account")
        events = rows.in_bulk({event_id for event_id, _ in known})
        made = {}
        for event_id, form in known:
            if (event := events.get(event_id)) is not None:
                content_type, body = forms.body(form, told(event))
                lines = event_lines(event_id, event.type, content_type)
                made[event_id, form] = lines, body if len(body) <= most else None
        return made

    def _keep(self, key: Key, entry: tuple[EventLines, bytes | None]) -> None:
        self._forget(key)
        self._kept[key] = entry
        self._count(entry, 1)
        while self._size > KEPT_BYTES or self._large > KEPT_LARGE:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: Key) -> None:
        if (entry := self._kept.pop(key, None)) is not None:
            self._count(entry, -1)

    def _count(self, entry: tuple[EventLines, bytes | None], sign: int) -> None:
        size = len(entry[1] or b"")
        self._size += sign * (size + _OVERHEAD)
        self._large += sign * (size > CARRIED_MOST)
