"""Logs of the running service: lines for people or JSON for collectors, each with the id of its request."""

from __future__ import annotations

import logging
import re
import uuid
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

__all__ = ["REQUEST_ID", "JsonLines", "RequestIds", "configuration", "request_id_of"]

# Set by the outermost layer for the rest of a request; threads that work for it have it too.
REQUEST_ID: ContextVar[str | None] = ContextVar("REQUEST_ID", default=None)

# What a proxy or a client may name a request: nothing that could break a line, a header or a query of logs.
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:=@+/-]{7,127}", re.ASCII)


def request_id_of(given: str | None) -> str:
    """The id that a request brought (``X-Request-ID``, 8 to 128 plain characters), or a new one."""
    return given if given is not None and _SANE.fullmatch(given) else uuid.uuid4().hex


class RequestIds(logging.Filter):
    """Gives every record ``request_id``: of the request that it was made for, or ``-``."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Name the request; nothing is filtered out."""
        record.request_id = REQUEST_ID.get() or "-"
        return True


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request id, and what a record has in ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; whatever is in it cannot make two of it."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request := getattr(record, "request_id", "-")) != "-":
            line["request_id"] = request
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode("utf-8", "replace")


class _PlainLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        request = getattr(record, "request_id", "-")
        text = super().format(record)
        return text if request == "-" or record.name == "api.service.requests" else f"{text} [{request}]"


def configuration(form: Literal["text", "json"], level: str, *, requests: bool) -> dict[str, Any]:
    """Logging for ``logging.config.dictConfig``: everything to stderr, requests too if they are wanted.

    uvicorn's own lines about requests are left out: they have neither route nor id, and they have the query, in which
    signatures of addresses stand.
    """
    formatter: dict[str, Any] = {"()": "api.service.logs._PlainLines", "format": "%(levelname)s: %(message)s"}
    if form == "json":
        formatter = {"()": "api.service.logs.JsonLines"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"ids": {"()": "api.service.logs.RequestIds"}},
        "formatters": {"lines": formatter},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "lines", "filters": ["ids"]},
        },
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "uvicorn.error": {"level": level.upper()},
            "uvicorn.access": {"level": "CRITICAL", "propagate": False},
            "api": {"level": level.upper()},
            # That it begins and ends: for people the command says it, in words of its own.
            "api.server": {"level": "INFO" if form == "json" else level.upper()},
            "api.service.requests": {"level": "INFO" if requests else "CRITICAL"},
        },
    }
