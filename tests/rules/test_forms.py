"""The bytes of an event in each form; the official SDK of CloudEvents reads ours."""

import json
from datetime import UTC, datetime

import pytest

from webhooks_app.rules import forms

TOLD = forms.Told(
    id="5a21a9e21ec94a0007f9ac19",
    type="order.created",
    time=datetime(2026, 11, 30, 8, 15, 0, 123_000, UTC),
    subject="customer-7 “é”",
    reference="",
    source="/accounts/acme",
    payload='{"total": 1.0, "total_big": 12345678901234567890, "n":"é"}'.encode(),
)


def test_the_payload_is_sent_as_it_was_published():
    assert forms.body("payload", TOLD) == ("application/json", TOLD.payload)


@pytest.mark.parametrize("form", ["standard", "cloudevents"])
def test_the_payload_stands_in_the_other_forms_byte_for_byte(form):
    _, body = forms.body(form, TOLD)
    assert body.endswith(b'"data":' + TOLD.payload + b"}")


def test_standard_webhooks_form():
    content_type, body = forms.body("standard", TOLD)
    assert content_type == "application/json"
    assert json.loads(body) == {
        "type": "order.created",
        "timestamp": "2026-11-30T08:15:00.123Z",
        "data": json.loads(TOLD.payload),
    }


def test_thin_form_tells_whose_event_it_is_and_nothing_of_it():
    _, body = forms.body("thin", TOLD)
    assert json.loads(body) == {
        "type": "order.created",
        "timestamp": "2026-11-30T08:15:00.123Z",
        "data": {"id": TOLD.id, "subject": TOLD.subject, "reference": ""},
    }


def test_the_official_sdk_reads_a_cloudevent_of_ours():
    from cloudevents.v1.http import from_http

    content_type, body = forms.body("cloudevents", TOLD)
    read = from_http({"content-type": content_type}, body)
    assert (read["specversion"], read["id"], read["type"]) == ("1.0", TOLD.id, "order.created")
    assert (read["source"], read["subject"]) == ("/accounts/acme", TOLD.subject)
    assert datetime.fromisoformat(read["time"]) == TOLD.time
    assert read["datacontenttype"] == "application/json"
    assert read.data == json.loads(TOLD.payload)


def test_a_cloudevent_without_a_subject_names_none():
    _, body = forms.body("cloudevents", TOLD._replace(subject=""))
    assert "subject" not in json.loads(body)
