"""The file a chain lives in: one JSON line for the genesis, then one for every block, time shift and revert.

Guarantees: `append` returns after the line is on the disk (fdatasync), so a block that anyone has seen survives `kill -9` and
a power cut. A torn last line (the crash came while it was written; nobody has seen its block) is dropped, with a word.
Anything else that does not parse is damage, and refused. One process at a time holds a journal.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

FORMAT = 1
MAX_LINE_BYTES = 16 * 1024 * 1024
"""A full block of calldata in hex is under 4 MB; a longer line is not ours."""


class JournalError(Exception):
    """A journal that cannot be used: damaged, of another format, or held by another process."""


class GenesisLine(NamedTuple):
    timestamp: int
    accounts: int


class BlockLine(NamedTuple):
    """A mined block: what is needed to make it again, and the hash it must come out with."""

    number: int
    timestamp: int
    hash: bytes
    transactions: tuple[bytes, ...]


class OffsetLine(NamedTuple):
    """From here on the chain's clock is the wall clock plus so many seconds."""

    offset_s: int


class RevertLine(NamedTuple):
    """Blocks above this number were given up."""

    number: int


Line = GenesisLine | BlockLine | OffsetLine | RevertLine


class Journal:
    """An open journal. `lines` reads what is there (once, at the start); `append` adds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.dropped_bytes = 0
        """Length of the torn last line that was cut off, 0 if there was none."""
        new = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise JournalError(f"{path}: another process runs a chain from this folder; stop it first") from error
        if new:
            _sync_folder(path.parent)

    def lines(self) -> Iterator[Line]:
        """Every line in order. Raises `JournalError` naming the line that is damaged."""
        good_bytes = 0
        with self._path.open("rb") as source:
            for number, raw in enumerate(iter(lambda: source.readline(MAX_LINE_BYTES), b""), start=1):
                try:
                    line = _parse(raw)
                except (ValueError, KeyError, TypeError) as error:
                    if source.read(1):
                        raise JournalError(
                            f"{self._path}: line {number} is damaged ({error}); restore the file, or move it away to start a new chain"
                        ) from error
                    self.dropped_bytes = len(raw)
                    os.ftruncate(self._file, good_bytes)
                    os.fdatasync(self._file)
                    return
                good_bytes += len(raw)
                yield line

    def append(self, line: Line) -> None:
        """Write one line and wait until the disk has it. Raises OSError if it cannot be kept."""
        raw = json.dumps(_document(line), separators=(",", ":")).encode() + b"\n"
        written = os.write(self._file, raw)
        if written != len(raw):
            raise OSError(f"{self._path}: only {written} of {len(raw)} bytes could be written; is the disk full?")
        os.fdatasync(self._file)

    def close(self) -> None:
        """Let go of the file; another process may take it."""
        os.close(self._file)


def _document(line: Line) -> dict[str, Any]:
    match line:
        case GenesisLine(timestamp, accounts):
            return {"format": FORMAT, "timestamp": timestamp, "accounts": accounts}
        case BlockLine(number, timestamp, block_hash, transactions):
            return {
                "block": number,
                "timestamp": timestamp,
                "hash": block_hash.hex(),
                "transactions": [raw.hex() for raw in transactions],
            }
        case OffsetLine(offset_s):
            return {"offset": offset_s}
        case RevertLine(number):
            return {"revert": number}


def _parse(raw: bytes) -> Line:
    if not raw.endswith(b"\n"):
        raise ValueError("it has no end")
    document = json.loads(raw)
    if "block" in document:
        return BlockLine(
            int(document["block"]),
            int(document["timestamp"]),
            bytes.fromhex(document["hash"]),
            tuple(bytes.fromhex(item) for item in document["transactions"]),
        )
    if "offset" in document:
        return OffsetLine(int(document["offset"]))
    if "revert" in document:
        return RevertLine(int(document["revert"]))
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']}, but this program writes format {FORMAT}")
    return GenesisLine(int(document["timestamp"]), int(document["accounts"]))


def _sync_folder(folder: Path) -> None:
    """Without this the file's *name* may be gone after a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
