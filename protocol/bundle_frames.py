"""Frames inside a bundle: a wire frame, its link and its path, or of a hidden record only the hash.

Two readers of the same form. `parse_frame` takes one item of parsed JSON and names what is wrong. `read_frames` takes the text of many
at once, several times as fast; it refuses, without saying why, whatever is not exactly as `write_frame` and `packed.pack` would have it.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from .bundle_links import hashes_from
from .bundle_parts import BundledFrame, HiddenRecord
from .eip712 import MAX_JSON_INTEGER, canonical_hex
from .errors import Malformed
from .evidence import Record
from .merkle import MAX_PROOF
from .wire import (
    Details,
    WireFrame,
    frame_head_document,
    keys_problem,
    parse_frame_head,
    parse_record,
    record_document,
    unchecked_frame,
)

_ITEM_KEYS = frozenset(("frame", "link", "path"))
_HIDDEN_KEYS = frozenset(("sequence", "recordHash"))


def _hex(raw: bytes) -> str:
    return "0x" + raw.hex()


def _integer(value: Any, where: str) -> int:
    if type(value) is not int or not 0 <= value <= MAX_JSON_INTEGER:
        raise Malformed("must be an integer in 0…2^53-1", where)
    return value


def _read_record(device: bytes, document: Any, where: str) -> tuple[Record | HiddenRecord, Details]:
    if type(document) is dict and document.keys() == _HIDDEN_KEYS:
        sequence = _integer(document["sequence"], f"{where}.sequence")
        return HiddenRecord(sequence, canonical_hex(document["recordHash"], 32, f"{where}.recordHash")), ()
    return parse_record(device, document, where)


def parse_frame(document: Any, where: str) -> BundledFrame:
    """One item of `frames` or `conflicts`: form only, so that the auditor can name what is false. Raises `Malformed`."""
    if type(document) is not dict or document.keys() != _ITEM_KEYS:
        raise Malformed(keys_problem(document, _ITEM_KEYS), where)
    frame, signature, items = parse_frame_head(document["frame"], f"{where}.frame")
    pairs = [_read_record(frame.device, item, f"{where}.frame.records[{i}]") for i, item in enumerate(items)]
    link = None if document["link"] is None else _integer(document["link"], f"{where}.link")
    siblings = document["path"]
    if type(siblings) is not list or len(siblings) > MAX_PROOF:
        raise Malformed(f"must be a list of at most {MAX_PROOF} items", f"{where}.path")
    path = tuple([canonical_hex(sibling, 32, f"{where}.path") for sibling in siblings])
    return BundledFrame(frame, signature, tuple(p[0] for p in pairs), tuple(p[1] for p in pairs), link, path)


def write_frame(bundled: BundledFrame) -> dict[str, Any]:
    """A frame as one item of `frames`."""
    records = [
        record_document(record, details)
        if isinstance(record, Record)
        else {"sequence": record.sequence, "recordHash": _hex(record.record_hash)}
        for record, details in zip(bundled.records, bundled.details, strict=True)
    ]
    frame = frame_head_document(bundled.frame, bundled.signature) | {"records": records}
    return {"frame": frame, "link": bundled.link, "path": [_hex(sibling) for sibling in bundled.path]}


# ------------------------------------------------------------------ many at once


class _Item(msgspec.Struct, forbid_unknown_fields=True):
    frame: WireFrame
    link: Annotated[int, msgspec.Meta(ge=0, le=MAX_JSON_INTEGER)] | None
    path: Annotated[list[str], msgspec.Meta(max_length=MAX_PROOF)]


_decode_items = msgspec.json.Decoder(list[_Item]).decode
_KEYS_OF_ITEM, _KEYS_OF_RECORD = 3 + 9, 15
_NEVER_WRITTEN = (b"\\", b" ", b"\n", b"\t", b"\r")


def read_frames(text: bytes) -> list[BundledFrame] | None:
    """The frames of a JSON array as `pack` writes it, none of them with hidden records; None for any other text."""
    try:
        items = _decode_items(text)
        frames = []
        for item in items:
            frame, signature, records, details = unchecked_frame(item.frame, "")
            frames.append(BundledFrame(frame, signature, records, details, item.link, tuple(hashes_from(item.path))))
    except (msgspec.MsgspecError, UnicodeError, ValueError, RecursionError, Malformed):
        return None
    # Every key is one of ours by now. With neither escapes nor white space each `":` ends a key: one too many is a key written twice.
    keys = sum([_KEYS_OF_ITEM + _KEYS_OF_RECORD * len(frame.records) for frame in frames])
    if text.count(b'":') != keys or any(byte in text for byte in _NEVER_WRITTEN):
        return None
    return frames
