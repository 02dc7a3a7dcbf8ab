"""CSV for people's spreadsheets (RFC 4180, UTF-8, CRLF) that no spreadsheet runs as a formula.

Guaranteed: a text that begins like a formula gets an apostrophe before it (OWASP "CSV Injection"); integers stay integers, in the unit
their column names; bytes become `0x` hex; nothing becomes an empty cell.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What makes Excel, LibreOffice or Sheets evaluate a cell; the last four are the full-width forms some locales take."""

Cell = str | int | bytes | bool | None


def guarded(value: Cell) -> str:
    """One cell's text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes):
        return "0x" + value.hex()
    value = value.replace("\0", "")
    return "'" + value if value.lstrip(" ").startswith(_FORMULA) else value


def csv_lines(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    """The file, line by line, for a streamed answer."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(columns)
    yield _taken(buffer)
    for row in rows:
        writer.writerow([guarded(cell) for cell in row])
        yield _taken(buffer)


def _taken(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text
