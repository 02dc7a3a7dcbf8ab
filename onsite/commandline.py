"""How the programs on a device speak to whoever runs them: one line an event, one sentence an error."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from .errors import OnsiteError


def log_to_stderr() -> None:
    """One line an event: for people on a terminal, JSON for a log collector. Nothing secret is ever an event's field."""
    import structlog

    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True), renderer],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def exit_code(app: Callable[[], object], name: str) -> int:
    """Run a command line; an error is one sentence on stderr and exit code 2 (3 where a retry may help)."""
    from protocol.errors import ProtocolError

    try:
        app()
    except OnsiteError as error:
        typer.echo(f"{name}: {error}", err=True)
        return 3 if error.transient else 2
    except ProtocolError as error:
        typer.echo(f"{name}: {error}", err=True)
        return 2
    except OSError as error:  # a folder that is a file, a place nobody may write to, a full disk
        where = f"{error.filename}: " if error.filename is not None else ""
        typer.echo(f"{name}: {where}{error.strerror or error}", err=True)
        return 2
    return 0
