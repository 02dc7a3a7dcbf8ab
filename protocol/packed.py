"""Files of evidence as gzip JSON: the same document always gives the same JSON, and no file can cost more than stated.

`pack` writes compact JSON (RFC 8259) in the key order given, in one gzip member (RFC 1952) without a file name or a time. `unpack` takes
whatever bytes and returns the JSON object in them or raises `Malformed`. Duplicate keys are refused: two readers could
each believe another of the two values.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

import orjson

from .errors import Malformed

MAX_PACKED_BYTES = 64 << 20
"""A meter-year of quarter-hours, one record a frame, packs to 27 MB; a session lasts 62 days at most."""
MAX_JSON_BYTES = 256 << 20
"""That year unpacks to 77 MB. Bounds what a gzip bomb can cost."""
MAX_JSON_VALUES = 16_000_000
"""Commas in the JSON: bounds the Python objects it can become (about 64 bytes each) where the text is nothing but `[],[],`."""

_GZIP = 31  # zlib's wbits for one gzip member


def pack(document: dict[str, Any]) -> bytes:
    """`document` as gzip JSON. Hex digits pack to 0.52 of their length: Z_FILTERED ignores the short chance matches in them."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, _GZIP, 9, zlib.Z_FILTERED)
    return squeeze.compress(orjson.dumps(document)) + squeeze.flush()


def inflate(packed: bytes) -> bytes:
    """The JSON text in a gzip file, or plain JSON (begins with `{`) as it is. Raises `Malformed` at the limits above."""
    if len(packed) > MAX_PACKED_BYTES:
        raise Malformed(f"has {len(packed)} bytes, more than the {MAX_PACKED_BYTES} this program takes", "file")
    text = packed if packed[:1] == b"{" else _inflate(packed)
    if text.count(b",") > MAX_JSON_VALUES:
        raise Malformed(f"holds more than {MAX_JSON_VALUES} values, the most this program takes", "file")
    return text


def _inflate(packed: bytes) -> bytes:
    stream = zlib.decompressobj(_GZIP)
    try:
        text = stream.decompress(packed, MAX_JSON_BYTES + 1)
    except zlib.error as error:
        raise Malformed(f"is not gzip, or was damaged ({error})", "file") from None
    if len(text) > MAX_JSON_BYTES:
        raise Malformed(f"unpacks to more than {MAX_JSON_BYTES} bytes, the most this program takes", "file")
    if not stream.eof:
        raise Malformed("ends too early: the gzip stream was cut short", "file")
    if stream.unused_data:
        raise Malformed(f"has {len(stream.unused_data)} bytes after the end of the gzip stream", "file")
    return text


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Malformed(f"key {twice!r} stands twice in one object", "file")
    return found


def load(text: bytes) -> Any:
    """A JSON text as Python values, duplicate keys refused. Raises `Malformed`."""
    try:
        document = orjson.loads(text)
        # What we wrote comes back byte for byte, which rules duplicates out; only an edited file pays for the slow look.
        if orjson.dumps(document) != text:
            json.loads(text, object_pairs_hook=_refuse_duplicates)
    except Malformed:
        raise
    except (ValueError, RecursionError, TypeError) as error:
        raise Malformed(f"is not JSON ({error})", "file") from None
    return document


def unpack(packed: bytes) -> dict[str, Any]:
    """The JSON object in a gzip file, or in plain JSON. Raises `Malformed` and nothing else."""
    document = load(inflate(packed))
    if type(document) is not dict:
        raise Malformed("must hold a JSON object", "file")
    return document
