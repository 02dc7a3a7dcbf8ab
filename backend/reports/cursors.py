"""Cursors of pages as they stand in addresses: digits, or digits and hex with a dash between. Bad ones are a bad request."""

from __future__ import annotations

from ..errors import BadRequest

_MOST = 2**63 - 1


def number_in(text: str | None) -> int | None:
    """A row's number. Raises `BadRequest`."""
    if text is None or text == "":
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > _MOST:
        raise BadRequest("is not a cursor of this list; take `next` of the page before as it is", "after")
    return int(text)


def time_and_key_in(text: str | None) -> tuple[int, bytes] | None:
    """UTC seconds and the key of the row. Raises `BadRequest`."""
    if text is None or text == "":
        return None
    at, _, key = text.partition("-")
    try:
        raw = bytes.fromhex(key)
    except ValueError:
        raw = b""
    at_s = number_in(at)
    if at_s is None or not raw:
        raise BadRequest("is not a cursor of this list; take `next` of the page before as it is", "after")
    return at_s, raw
