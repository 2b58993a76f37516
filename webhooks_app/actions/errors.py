"""Why something that was asked is not done. All are ActionError, with a message for who asked."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from ..models import states
from ..rules.failures import Failure


class ActionError(Exception):
    """Something was asked that cannot be done; `message` says why, for the one who asked."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Invalid(ActionError):
    """Bad input; `details` has a list of sentences per field, nested as the input was; `message`
    is all of them in one line, each with its path: `headers.3.name: …`."""

    def __init__(self, details: dict[str, Any]) -> None:
        found = (f"{path}: {line}" if path else line for path, line in sentences(details))
        super().__init__(" ".join(found))
        self.details = details


def sentences(details: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Each sentence of the details of bad input with the path of its field."""
    if isinstance(details, Mapping):
        for key, inner in details.items():
            yield from sentences(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(details, list | tuple):
        for inner in details:
            yield from sentences(inner, path)
    else:
        yield path, str(details)


class NotCallable(ActionError):
    """The webhook may not be called now; `reason` is one of `states.SENTENCES` or `deleted`.
    `retry_after`: seconds after which it is worth another try, where that can be said."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(states.SENTENCES.get(reason, "The webhook is deleted."))
        self.reason = reason
        self.retry_after = retry_after


class Busy(ActionError):
    """We cannot make the call now: all slots for exchanges of this process are taken, or the share
    of them that one account or webhook may have, or the process has a fault of its own. The
    receiver has no part in it and nothing is recorded."""

    retry_after = 1.0  # seconds


class TooSoon(ActionError):
    """Verify and test are allowed once a second for each webhook."""

    def __init__(self, retry_after: float = 1.0) -> None:
        super().__init__("Only one such call a second is made for a webhook; try again.")
        self.retry_after = retry_after


class Conflict(ActionError):
    """The present state of things does not allow it; `details` may say of what, as in Invalid."""

    def __init__(self, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.details = details


class OlderWorkers(Conflict):
    """Workers of a version that does not know it would not keep to it. `workers`: host and PID of
    each, for the operator's eyes."""

    words = "Not possible while a worker of an older version runs"

    def __init__(self, workers: Iterable[str]) -> None:
        super().__init__(f"{self.words}.")
        self.workers = sorted(workers)


class ExchangeFailed(ActionError):
    """The receiver was called and it did not work; recorded in the error history."""

    def __init__(self, failure: Failure, date: datetime) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.date = date


def alone(error: ActionError) -> ActionError:
    """What is said of a request for one thing, without its number."""
    match error:
        case Invalid():
            return Invalid(error.details["0"])
        case Conflict():
            return Conflict(error.message)
    return error
