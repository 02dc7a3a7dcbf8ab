"""What a forger might do to a proof bundle: the demo does it, and the auditor must name it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from .processes import DemoFailed


def _document(bundle: bytes) -> Any:
    return json.loads(gzip.decompress(bundle))


def _write(document: Any, path: Path) -> None:
    path.write_bytes(gzip.compress(json.dumps(document, separators=(",", ":")).encode(), mtime=0))


def _middle_frame(document: Any) -> int:
    """A frame inside the bill, not at its edges."""
    frames = document["frames"]
    if len(frames) < 5:
        raise DemoFailed(f"the bundle has only {len(frames)} frames; the session was too short to show tampering")
    return len(frames) // 2


def flip_one_digit(bundle: bytes, path: Path) -> int:
    """Write a copy in which one digit of one register differs; returns that record's sequence."""
    document = _document(bundle)
    record = document["frames"][_middle_frame(document)]["frame"]["records"][0]
    record["importMilliwattHours"] ^= 1
    _write(document, path)
    return int(record["sequence"])


def delete_one_record(bundle: bytes, path: Path) -> int:
    """Write a copy without one frame's record; returns the missing sequence."""
    document = _document(bundle)
    place = _middle_frame(document)
    sequence = int(document["frames"][place]["frame"]["records"][0]["sequence"])
    del document["frames"][place]
    _write(document, path)
    return sequence
