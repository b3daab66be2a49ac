"""Logging for a program that others read: one line per event, text or JSON, to standard error."""

from __future__ import annotations

import logging
import logging.config
from datetime import UTC, datetime
from typing import Literal

import msgspec


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()


def configure_logging(level: str = "info", form: Literal["text", "json"] = "text") -> None:
    """Send all loggers to standard error. Access lines are left to the ledger, which knows more."""
    text = {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s"}
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": JsonFormatter} if form == "json" else text},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"level": "WARNING", "handlers": ["stderr"]},
            "loggers": {"hullspeed": {"level": level.upper()}},
        }
    )
