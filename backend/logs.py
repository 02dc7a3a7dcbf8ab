"""Logs: one JSON object a line (or readable lines), on standard error. Secrets never get here: nobody logs a header, a body or a key."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

_HIDDEN = ("authorization", "token", "secret", "passphrase", "password", "signature")


def _redact(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """The last line of defence: a field with such a name is never written, whoever put it there."""
    for name in event:
        if any(word in name.lower() for word in _HIDDEN):
            event[name] = "(hidden)"
    return event


def configure(log_format: str) -> None:
    """Set up structlog, and put the standard library's loggers through it."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars, structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True), _redact,
    ]  # fmt: skip
    renderer: Any = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    if log_format == "json":
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, renderer], wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr), cache_logger_on_first_use=True,
    )  # fmt: skip
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
