"""Opening a bundle so that several cores can read it: the head at once, the frames in slices of JSON text.

A slice is cut where the deterministic encoding puts a boundary between two frames; quotes stand unescaped there, so no text inside a
JSON string can look like one. A file that is laid out otherwise (edited, pretty-printed) is read whole, to the same result.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from protocol import packed
from protocol.bundle import Bundle, BundledFrame, parse_bundle, parse_frame
from protocol.errors import Malformed
from protocol.evidence import Record

SLICE_BYTES = 1 << 20
"""About 500 quarter-hours: enough work to outweigh the handing over, small enough to share out evenly."""

_BEGIN, _END, _BETWEEN = b'"frames":[', b'],"conflicts":[', b'},{"frame":{'
_CUT = "cut out, and read in slices"
_NOT_OURS = (b"\\", b" ", b"\n", b"\t", b"\r")  # the encoding of frames has none of these
_ITEM_KEYS, _RECORD_KEYS, _HIDDEN_KEYS = 3 + 9, 15, 2


class Slice(NamedTuple):
    """Some frames in a row, as text or already parsed; `first` is the index of the first."""

    first: int
    size: int
    text: bytes
    items: list[Any] | None


def open_bundle(raw: bytes) -> tuple[Bundle, list[Slice]]:
    """A bundle without its frames, and the frames in slices. Raises `Malformed` for what is wrong outside the frames."""
    text = packed.inflate(raw)
    begin = text.find(_BEGIN + b'{"frame":{')
    end = text.find(_END, begin)
    if begin >= 0 and end >= 0:
        document = packed.load(text[:begin] + b'"frames":["' + _CUT.encode() + b'"' + text[end:])
        if type(document) is dict and document.get("frames") == [_CUT]:
            document["frames"] = []
            return parse_bundle(document), _cut(text[begin + len(_BEGIN) : end])
    document = packed.load(text)
    if type(document) is not dict:
        raise Malformed("must hold a JSON object", "file")
    bundle = parse_bundle(document, with_frames=False)
    items = document["frames"]
    size = 500
    return bundle, [Slice(i, len(items[i : i + size]), b"", items[i : i + size]) for i in range(0, len(items), size)]


def _cut(body: bytes) -> list[Slice]:
    slices, start, first = [], 0, 0
    while start < len(body):
        stop = body.find(_BETWEEN, start + SLICE_BYTES)
        stop = len(body) if stop < 0 else stop + 1
        text = body[start:stop]
        count = text.count(b'{"frame":{')
        slices.append(Slice(first, count, text, None))
        start, first = stop + 1, first + count
    return slices


def read_slice(part: Slice) -> list[BundledFrame]:
    """The frames of a slice. Raises `Malformed` naming the frame."""
    items = part.items
    if items is not None:
        return [parse_frame(item, f"frames[{part.first + i}]") for i, item in enumerate(items)]
    text = b"[" + part.text + b"]"
    try:
        items = orjson.loads(text)
    except ValueError as error:
        raise Malformed(f"is not JSON ({error})", f"frames[{part.first}…{part.first + part.size - 1}]") from None
    frames = [parse_frame(item, f"frames[{part.first + i}]") for i, item in enumerate(items)]
    # Every key is one of ours by now. With neither escapes nor white space each `":` ends a key: one too many is a key written twice.
    keys = sum(_ITEM_KEYS + sum(_RECORD_KEYS if type(r) is Record else _HIDDEN_KEYS for r in frame.records) for frame in frames)
    if any(byte in text for byte in _NOT_OURS) or text.count(b'":') != keys:
        packed.load(text)
    return frames
