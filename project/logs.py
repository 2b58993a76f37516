"""The lines of the log: what comes from outside cannot end one and begin another."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http.multipartparser import MultiPartParserError

from webhooks_app import request_ids
from webhooks_app.rules.safe_text import shown

# What Django makes of a request that is not right, and of one that is not allowed.
OF_CLIENTS = (SuspiciousOperation, BadRequest, MultiPartParserError, PermissionDenied)


class NoFault(logging.Filter):
    """What a client did wrong is a line and no error of ours: a traceback says no more, and whoever
    likes could have one written with each request."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], OF_CLIENTS):
            record.exc_info = record.exc_text = None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True


class OneLine(logging.Formatter):
    """A record is one line, whatever its message quotes; a traceback beneath it keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        if name := request_ids.of_record(record):
            text += f" [{name}]"
        return shown(text)

    def formatException(self, info: Any) -> str:
        return shown(super().formatException(info), keep="\n\t")


class Json(logging.Formatter):
    """A record is one JSON object on a line: time, level, logger, process, message; request_id,
    exception and fields of its own where it has them."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if name := request_ids.of_record(record):
            line["request_id"] = name
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line | getattr(record, "fields", {}))
