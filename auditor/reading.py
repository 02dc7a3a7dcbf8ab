"""Opening a bundle so that several cores can read it: the frames in slices of JSON text, and all the rest.

A slice is cut where the deterministic encoding puts a boundary between two frames; quotes stand unescaped there, so no text inside a
JSON string can look like one. A file that is laid out otherwise (edited, pretty-printed) is read whole, to the same result.
"""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap
from typing import Any, NamedTuple

from protocol import packed
from protocol.bundle import Bundle, BundledFrame, parse_bundle, parse_frame, read_frames
from protocol.errors import Malformed

SLICE_BYTES = 1 << 19
"""About 250 quarter-hours: enough work to outweigh the handing over, small enough to share out evenly."""
SLICE_FRAMES = 250

_BEGIN, _END, _BETWEEN = b'"frames":[', b'],"conflicts":[', b'},{"frame":{'
_FIRST = _BEGIN + b'{"frame":{"device":'
_CUT = "cut out, and read in slices"


class Slice(NamedTuple):
    """Some frames in a row: a stretch of the source's text, or of its items."""

    begin: int
    end: int


class Source(NamedTuple):
    """What slices are cut from: the file's text with its frames from `begin` on, or frames already parsed."""

    text: bytes | mmap
    begin: int
    items: list[Any] | None = None


class Opened(NamedTuple):
    """A bundle file whose frames are in slices; `rest` is the JSON around them, parsed by `head`."""

    source: Source
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
    begin = text.rfind(_FIRST)
    end = text.find(_END, begin)
    if begin >= 0 and end >= 0:
        first = begin + len(_BEGIN)
        return Opened(Source(text, first), list(_cut(text, first, end)), _around(text, first, end))
    document = packed.load(text)
    if type(document) is not dict:
        raise Malformed("must hold a JSON object", "file")
    items = document.get("frames")
    if type(items) is not list:
        return Opened(Source(b"", 0), [], document)  # `head` names it
    slices = [Slice(i, min(i + SLICE_FRAMES, len(items))) for i in range(0, len(items), SLICE_FRAMES)]
    return Opened(Source(b"", 0, items), slices, document)


def _around(text: bytes | mmap, first: int, end: int) -> bytes:
    return text[:first] + b'"' + _CUT.encode() + b'"' + text[end:]


def _cut(text: bytes | mmap, start: int, end: int) -> Iterator[Slice]:
    while start < end:
        stop = text.find(_BETWEEN, start + SLICE_BYTES, end)
        stop = end if stop < 0 else stop + 1
        yield Slice(start, stop)
        start = stop + 1


class Unpacking:
    """A large packed bundle that is cut into slices while it is still being unpacked, into memory that forked processes share.

    A guess until all is there: that the first frames met are the bundle's. `opened` is None where it was wrong, or where anything at all is
    odd about the file; then `open_bundle` reads it, and says what.
    """

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.source = Source(mmap(-1, max(1, min(packed.stated_size(raw), packed.MAX_JSON_BYTES))), 0)
        self.opened: Opened | None = None

    @staticmethod
    def suits(raw: bytes) -> bool:
        """Whether a file is worth it: packed, and of several slices."""
        return not packed.is_plain(raw) and SLICE_BYTES < len(raw) <= packed.MAX_PACKED_BYTES

    def slices(self) -> Iterator[Slice]:
        """The slices, each as soon as its text is there. Afterwards `opened` says whether they were the right ones."""
        text, size, first, start, end, last = self.source.text, 0, -1, 0, -1, b""
        assert isinstance(text, mmap)
        found: list[Slice] = []
        try:
            for piece in packed.inflate_pieces(self._raw):
                text[size : size + len(piece)] = piece  # IndexError: the file has another size than it says
                seam = last[1 - len(_FIRST) :]
                at = size - len(seam)  # where `seen` begins: what straddles two pieces is found too
                seen, size, last = seam + piece, size + len(piece), piece
                if first < 0:
                    place = seen.find(_FIRST)
                    if place < 0:
                        continue
                    first = start = at + place + len(_BEGIN)
                if end < 0:
                    place = seen.find(_END, max(0, first - at))
                    end = at + place if place >= 0 else -1
                    for part in _cut(text, start, size if end < 0 else end):
                        if part.end == size and end < 0:
                            break  # its end is not there yet
                        found.append(part)
                        start = part.end + 1
                        yield part
        except (Malformed, IndexError, ValueError):
            return
        if end >= 0 and size == len(text) and text[end:].find(_FIRST) < 0:
            self.opened = Opened(self.source._replace(begin=first), found, _around(text, first, end))


def read_slice(source: Source, part: Slice) -> list[BundledFrame]:
    """The frames of a slice. Raises `Malformed` naming the frame."""
    if source.items is not None:
        return [parse_frame(item, f"frames[{i}]") for i, item in enumerate(source.items[part.begin : part.end], part.begin)]
    text = b"[" + source.text[part.begin : part.end] + b"]"
    frames = read_frames(text)
    if frames is not None:
        return frames
    items = packed.load(text)
    try:
        return [parse_frame(item, "") for item in items]
    except Malformed:  # only now is it worth counting how many frames stand before
        before = source.text[source.begin : part.begin].count(_BETWEEN[2:])
        return [parse_frame(item, f"frames[{before + i}]") for i, item in enumerate(items)]
