"""Files of evidence as gzip JSON: the same document always gives the same JSON, and no file can cost more than stated.

`pack` writes compact JSON (RFC 8259) in the key order given, in one gzip member (RFC 1952) without a file name or a time. `unpack` takes
whatever bytes and returns the JSON object in them or raises `Malformed`. Duplicate keys are refused: two readers could
each believe another of the two values.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

import orjson

from .errors import Malformed

MAX_PACKED_BYTES = 64 << 20
"""A meter-year of quarter-hours, one record a frame, packs to 27 MB; a session lasts 62 days at most."""
MAX_JSON_BYTES = 256 << 20
"""That year unpacks to 77 MB. Bounds what a gzip bomb can cost."""
MAX_JSON_VALUES = 16_000_000
"""Commas in the JSON: bounds the Python objects it can become (about 64 bytes each) where the text is nothing but `[],[],`."""

PIECE_BYTES = 1 << 18
"""Packed bytes that are unpacked at once: about a slice of frames (`auditor.reading`), so that the next stage need not wait."""
_GZIP = 31  # zlib's wbits for one gzip member


def pack(document: dict[str, Any]) -> bytes:
    """`document` as gzip JSON. Hex digits pack to 0.52 of their length: Z_FILTERED ignores the short chance matches in them."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, _GZIP, 9, zlib.Z_FILTERED)
    return squeeze.compress(orjson.dumps(document)) + squeeze.flush()


def inflate(packed: bytes) -> bytes:
    """The JSON text in a gzip file, or plain JSON (begins with `{`) as it is. Raises `Malformed` at the limits above."""
    return b"".join(inflate_pieces(packed))


def inflate_pieces(packed: bytes) -> Iterator[bytes]:
    """What `inflate` gives, piece by piece as it is unpacked. Only after the last piece is it sure that the file was whole."""
    if len(packed) > MAX_PACKED_BYTES:
        raise Malformed(f"has {len(packed)} bytes, more than the {MAX_PACKED_BYTES} this program takes", "file")
    values = 0
    for piece in [packed] if is_plain(packed) else _inflate(packed):
        values += piece.count(b",")
        yield piece
    if values > MAX_JSON_VALUES:
        raise Malformed(f"holds more than {MAX_JSON_VALUES} values, the most this program takes", "file")


def is_plain(packed: bytes) -> bool:
    """Whether a file is JSON as it stands."""
    return packed[:1] == b"{"


def stated_size(packed: bytes) -> int:
    """The size of the text by the file's own word (RFC 1952, ISIZE); a gzip stream of another size is refused when it ends."""
    return int.from_bytes(packed[-4:], "little")


def _inflate(packed: bytes) -> Iterator[bytes]:
    stream, size, fed = zlib.decompressobj(_GZIP), 0, 0
    while not stream.eof and fed < len(packed):
        try:
            piece = stream.decompress(packed[fed : fed + PIECE_BYTES], MAX_JSON_BYTES + 1 - size)
        except zlib.error as error:
            raise Malformed(f"is not gzip, or was damaged ({error})", "file") from None
        fed, size = fed + PIECE_BYTES, size + len(piece)
        if size > MAX_JSON_BYTES:
            raise Malformed(f"unpacks to more than {MAX_JSON_BYTES} bytes, the most this program takes", "file")
        yield piece
    if not stream.eof:
        raise Malformed("ends too early: the gzip stream was cut short", "file")
    after = len(stream.unused_data) + max(0, len(packed) - fed)
    if after:
        raise Malformed(f"has {after} bytes after the end of the gzip stream", "file")


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
