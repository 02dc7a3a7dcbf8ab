"""Opening a bundle so that several cores can read it: the frames in slices of JSON text, and all the rest.

A slice is cut where the deterministic encoding puts a boundary between two frames; quotes stand unescaped there, so no text inside a
JSON string can look like one. A file that is laid out otherwise (edited, pretty-printed) is read whole, to the same result.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from protocol import packed
from protocol.bundle import Bundle, BundledFrame, parse_bundle, parse_frame, read_frames
from protocol.errors import Malformed

SLICE_BYTES = 1 << 20
"""About 500 quarter-hours: enough work to outweigh the handing over, small enough to share out evenly."""
SLICE_FRAMES = 500

_BEGIN, _END, _BETWEEN = b'"frames":[', b'],"conflicts":[', b'},{"frame":{'
_CUT = "cut out, and read in slices"


class Slice(NamedTuple):
    """Some frames in a row: a stretch of the file's text, or already parsed; `first` counts the frames before, if known."""

    text: bytes
    begin: int
    end: int
    items: list[Any] | None
    first: int


class Opened(NamedTuple):
    """A bundle file whose frames are in slices; `rest` is the JSON around them, parsed by `head`."""

    slices: list[Slice]
    rest: bytes | dict[str, Any]

    def head(self) -> Bundle:
        """The bundle without its frames. Raises `Malformed`."""
        document = self.rest
        if isinstance(document, bytes):
            document = packed.load(document)
            if type(document) is not dict or document.get("frames") != [_CUT]:
                raise Malformed("its frames stand inside another document, not in the bundle", "frames")
        return parse_bundle(document, with_frames=False)


def open_bundle(raw: bytes) -> Opened:
    """Unpack a file and cut its frames into slices. Raises `Malformed`."""
    text = packed.inflate(raw)
    # The encoding writes `frames` before `conflicts` and after everything that holds foreign documents, so the last is the one.
    begin = text.rfind(_BEGIN + b'{"frame":{"device":')
    end = text.find(_END, begin)
    if begin >= 0 and end >= 0:
        rest = text[:begin] + b'"frames":["' + _CUT.encode() + b'"' + text[end:]
        return Opened(_cut(text, begin + len(_BEGIN), end), rest)
    document = packed.load(text)
    if type(document) is not dict:
        raise Malformed("must hold a JSON object", "file")
    items = document.get("frames")
    if type(items) is not list:
        return Opened([], document)  # `head` names it
    return Opened([Slice(b"", 0, 0, items[i : i + SLICE_FRAMES], i) for i in range(0, len(items), SLICE_FRAMES)], document)


def _cut(text: bytes, begin: int, end: int) -> list[Slice]:
    slices, start = [], begin
    while start < end:
        stop = text.find(_BETWEEN, start + SLICE_BYTES, end)
        stop = end if stop < 0 else stop + 1
        slices.append(Slice(text, start, stop, None, -1))
        start = stop + 1
    return slices


def read_slice(part: Slice) -> list[BundledFrame]:
    """The frames of a slice. Raises `Malformed` naming the frame."""
    items, first = part.items, part.first
    if items is None:
        text = b"[" + part.text[part.begin : part.end] + b"]"
        frames = read_frames(text)
        if frames is not None:
            return frames
        first = part.text.count(_BETWEEN[2:], part.text.rfind(_BEGIN, 0, part.begin + 1), part.begin)
        items = packed.load(text)
    return [parse_frame(item, f"frames[{first + i}]") for i, item in enumerate(items)]
