"""JSON documents that somebody signs by their hash: exactly the fields they should have, integers in their range.

An unknown field is refused: a word that nobody reads is a promise that nobody keeps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .errors import Malformed


def check_fields(document: Any, where: str, required: Iterable[str], optional: Iterable[str] = ()) -> None:
    """Raise `Malformed` naming the first field that is missing or unknown, or that `document` is no object."""
    if type(document) is not dict:
        raise Malformed("must be an object", where)
    required = tuple(required)
    for name in required:
        if name not in document:
            raise Malformed(f"field {name!r} is missing", where)
    unknown = sorted(str(name) for name in document if name not in required and name not in optional)
    if unknown:
        raise Malformed(f"unknown field {unknown[0]!r}", where)


def integer(value: Any, least: int, most: int, where: str) -> int:
    """`value` if it is an integer in `least`…`most`, both included. Raises `Malformed`."""
    if type(value) is not int or not least <= value <= most:
        raise Malformed(f"must be an integer in {least}…{most}, not {value!r}", where)
    return value
