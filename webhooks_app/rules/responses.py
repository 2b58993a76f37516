"""What a receiver's answer means: to an interaction, and to a verification challenge."""

import json
from codecs import BOM_UTF8
from collections.abc import Iterable
from typing import Any

from . import failures, strictjson
from .failures import Failure

MAX_RESPONSES = 99
QUOTED_LIMIT = 1024  # characters of a challenge in quotes, each perhaps an escape


def interaction(body: bytes) -> dict[str, Any]:
    """The `{"responses": […], "attributes": {…}}` in an answer.

    Every part is optional and only the outer shape is checked; an empty body says nothing and is
    a success. An empty list stands for an empty object, which PHP writes so. `parameters` is the
    first generation's word for `attributes`. Raises ValueError with a sentence when it is no JSON
    object of that shape.
    """
    text = body.removeprefix(BOM_UTF8).strip()
    value = strictjson.loads(text, unique=False) if text else None
    if value is None or value == []:
        value = {}
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    responses = value.get("responses")
    if responses is None:
        responses = []
    if not isinstance(responses, list):
        raise ValueError("`responses` is not a list")
    if len(responses) > MAX_RESPONSES:
        raise ValueError(f"it has more than {MAX_RESPONSES} responses")
    attributes = value.get("attributes")
    if attributes is None:
        attributes = value.get("parameters")
    if attributes is None or attributes == []:
        attributes = {}
    if not isinstance(attributes, dict):
        raise ValueError("`attributes` is not an object")
    return {"responses": responses, "attributes": attributes}


def is_compressed(headers: Iterable[tuple[str, str]], body: bytes) -> bool:
    """Whether an answer says that it is, or begins as gzip does. Names are in lower case."""
    codings = {value.strip().lower() for name, value in headers if name == "content-encoding"}
    return bool(codings - {"", "identity"}) or body.startswith(b"\x1f\x8b")


def verification(
    status: int, body: bytes, challenge: str, *, rotated: bool = False
) -> Failure | None:
    """Whether the answer passes: 200 and the challenge itself, trimmed, also in double quotes and
    behind a byte order mark.

    `rotated` as in `failures.of_status`.
    """
    if rotated and status in failures.REFUSALS:
        return Failure("signature", f"Verification failed: status code {status}")
    if status in (401, 403):
        return Failure("v_401", f"Verification failed: status code {status} (token refused)")
    if status in (404, 405):
        return Failure("v_404", f"Verification failed: status code {status} (no GET handler)")
    if status != 200:
        other = failures.of_status(status)
        kind = other.kind if other else "v_body"
        return Failure(kind, f"Verification failed: status code {status} instead of 200")
    text = body.removeprefix(BOM_UTF8).decode("utf-8", "replace").strip()
    if text == challenge or _unquoted(text) == challenge:
        return None
    return Failure("v_body", "Verification failed: the answer is not the challenge")


def _unquoted(text: str) -> object:
    if not text.startswith('"') or len(text) > QUOTED_LIMIT:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
