"""The lines of the log: what comes from outside cannot end one and begin another."""

import logging
from typing import Any

from webhooks_app.rules.unseen import shown


class OneLine(logging.Formatter):
    """A record is one line, whatever its message quotes; a traceback beneath it keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return shown(super().formatMessage(record))

    def formatException(self, info: Any) -> str:
        return shown(super().formatException(info), keep="\n\t")
