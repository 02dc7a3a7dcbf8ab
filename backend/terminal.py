"""How commands of this program fail: one sentence, exit code 1, no stack trace."""

from __future__ import annotations

from collections.abc import Callable

import typer


def run(action: Callable[[], object]) -> None:
    """Do it; a refusal, of ours or of the operating system, becomes a sentence on stderr."""
    from sqlalchemy.exc import DatabaseError, OperationalError

    from .errors import ServiceError

    try:
        action()
    except ServiceError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    except DatabaseError as error:
        if type(error) not in (DatabaseError, OperationalError):
            raise  # a row or a statement that the database refuses is a fault of this program
        typer.echo(f"error: database_url: the database cannot be used: {str(error.orig).strip()}", err=True)
        raise typer.Exit(1) from None
    except OSError as error:  # a folder that is a file, a place nobody may write to, a full disk
        where = f"{error.filename}: " if error.filename is not None else ""
        typer.echo(f"error: {where}{error.strerror or error}", err=True)
        raise typer.Exit(1) from None
