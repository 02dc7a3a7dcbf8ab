"""What all commands share: files in, trust in, a report out, and never a stack trace."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import typer

from protocol.eip712 import hex_bytes
from protocol.errors import Malformed
from protocol.packed import MAX_PACKED_BYTES

from .report import Report
from .trust import Trust, trust_heads

WRONG_USE, OUR_FAULT = 2, 70  # the latter: EX_SOFTWARE of sysexits.h


class Unusable(Exception):
    """An argument that cannot be used, in a sentence that says what to do."""


def read_file(path: Path) -> bytes:
    """A file's bytes, one more than the limit at most. Raises `Unusable`."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_PACKED_BYTES + 1)
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror or error}") from None


def trust_from(links: Path | None, heads: Sequence[str]) -> Trust:
    """What `--trust` and `--head` say together. Raises `Unusable`."""
    from .links_file import load_trust

    try:
        given = [hex_bytes(head if head.startswith("0x") else "0x" + head, 32, "--head") for head in heads]
        kept = load_trust(links) if links is not None else Trust()
    except Malformed as error:
        raise Unusable(str(error)) from None
    except OSError as error:
        raise Unusable(f"{links}: {error.strerror or error}") from None
    return kept._replace(heads=kept.heads | trust_heads(given).heads)


def fail(message: str, code: int) -> NoReturn:
    """End with one line on standard error."""
    typer.echo(f"auditor: {message}", err=True)
    raise typer.Exit(code)


def audit(make: Callable[[], Report], as_json: bool) -> None:
    """Run an audit, show its report, and exit with its code."""
    try:
        report = make()
    except Unusable as error:
        fail(str(error), WRONG_USE)
    except MemoryError:
        fail("not enough memory for this file", OUR_FAULT)
    except Exception as error:  # the last net: whatever the bytes, a person gets a sentence
        fail(f"a fault of this program, please report it with the file: {type(error).__name__}: {error}", OUR_FAULT)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows no ✔ still gets its report
    if as_json:
        sys.stdout.write(json.dumps(report.document(), indent=1) + "\n")
    else:
        from rich.console import Console

        from .show import show

        show(report, Console(soft_wrap=False))
    raise typer.Exit(report.exit_code)
