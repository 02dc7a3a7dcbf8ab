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
    """Some frames in a row, as text or already parsed; `first` is the position of the first."""

    first: int
    text: bytes
    items: list[Any] | None


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
    return Opened([Slice(i, b"", items[i : i + SLICE_FRAMES]) for i in range(0, len(items), SLICE_FRAMES)], document)


def _cut(text: bytes, begin: int, end: int) -> list[Slice]:
    slices, first = [], 0
    while begin < end:
        stop = text.find(_BETWEEN, begin + SLICE_BYTES, end)
        stop = end if stop < 0 else stop + 1
        part = b"[" + text[begin:stop] + b"]"
        slices.append(Slice(first, part, None))
        begin, first = stop + 1, first + part.count(b'{"frame":{')
    return slices


def read_slice(part: Slice) -> list[BundledFrame]:
    """The frames of a slice. Raises `Malformed` naming the frame."""
    items = part.items
    if items is None:
        frames = read_frames(part.text)
        if frames is not None:
            return frames
        items = packed.load(part.text)
    return [parse_frame(item, f"frames[{part.first + i}]") for i, item in enumerate(items)]
