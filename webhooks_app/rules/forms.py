"""What is sent of an event, in each form: its content type and its bytes. Pure.

Standard Webhooks (https://www.standardwebhooks.com) names `type`, `timestamp` and `data`; a
structured CloudEvent is https://github.com/cloudevents/spec, 1.0, JSON format. The payload stands
in them byte for byte as it was published.
"""

import json
from datetime import datetime
from typing import NamedTuple

from .ids import timestamp

JSON = "application/json"
CLOUDEVENT = "application/cloudevents+json"

PAYLOAD, STANDARD, THIN, CLOUDEVENTS = "payload", "standard", "thin", "cloudevents"
_OWN_TYPE = "This form has its own content type: remove the header Content-Type."


class Told(NamedTuple):
    """What a form may tell of an event."""

    id: str
    type: str
    time: datetime  # when it happened
    subject: str
    reference: str
    source: str  # of a CloudEvent
    payload: bytes


def header_problem(form: str, name: str) -> str:
    """What is wrong with a header of that name beside a form, in a sentence; `""` for nothing."""
    return _OWN_TYPE if form != PAYLOAD and name.lower() == "content-type" else ""


def is_known(form: str) -> bool:
    """A newer version beside this one may have others."""
    return form in _FORMS


def body(form: str, event: Told) -> tuple[str, bytes]:
    """The content type and the bytes of an event in a form. KeyError for an unknown one."""
    content_type, make = _FORMS[form]
    return content_type, make(event)


def _standard(event: Told) -> bytes:
    return _object(_head(event), event.payload)


def _thin(event: Told) -> bytes:
    data = {"id": event.id, "subject": event.subject, "reference": event.reference}
    return _object(_head(event), _encoded(data))


def _head(event: Told) -> dict[str, str]:
    return {"type": event.type, "timestamp": timestamp(event.time)}


def _cloudevent(event: Told) -> bytes:
    attributes = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "time": timestamp(event.time),
    }
    if event.subject:  # which must not be empty there
        attributes["subject"] = event.subject
    return _object({**attributes, "datacontenttype": JSON}, event.payload)


def _object(members: dict[str, str], data: bytes) -> bytes:
    """A JSON object of these members, and of `data`, which is JSON already."""
    return _encoded(members)[:-1] + b',"data":' + data + b"}"


def _encoded(value: dict[str, str]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


_FORMS = {
    PAYLOAD: (JSON, lambda event: event.payload),
    STANDARD: (JSON, _standard),
    THIN: (JSON, _thin),
    CLOUDEVENTS: (CLOUDEVENT, _cloudevent),
}
