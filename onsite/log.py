"""An append-only log of entries in segment files: what the agent knows, in the order it came to know it.

`append` returns only when the entry is on the disk (`fdatasync` returned), and either the whole entry is there or,
after a crash, none of it: each carries its length and a CRC-32. A tail torn by a crash is cut off when the log opens,
and named in `cut_bytes`. Bytes that were whole once and are not any more raise `LogDamaged`. Each segment begins with
a checkpoint entry, so that opening reads one segment, whatever the log's size. One process writes (a lock file says
so); any thread may read up to `end`, which never names an unsynced byte.

Not promised: anything, on a disk that lies about syncing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from .errors import DiskFull, LogDamaged, LogFailed
from .keyfile import sync_directory

MAGIC = b"WPLOG\x00\x00\x01"
_MARK = b"\xf5Wp\xa7"  # not valid UTF-8, so never inside the JSON of an entry
_HEADER = struct.Struct(">4sII")  # mark, length, CRC-32 of the payload
MAX_ENTRY_BYTES = 16 << 20
"""Twice the largest frame; a longer length field is not ours."""
SEGMENT_BYTES = 8 << 20
SEGMENT_S = 86_400
"""A new segment a day at the latest, so that retention can drop whole days."""


class Position(NamedTuple):
    """A place between two entries. Positions of one log are ordered."""

    segment: int
    offset: int


class SegmentLog:
    """The log in `directory`. `checkpoint` makes the first entry of every new segment."""

    def __init__(self, directory: Path, checkpoint: Callable[[], bytes], segment_bytes: int = SEGMENT_BYTES) -> None:
        self.directory = directory
        self.cut_bytes = 0
        self._checkpoint = checkpoint
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()  # guards appends against `drop`; readers need none
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._guard = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._guard)
            raise LogFailed(f"{directory} is in use by another agent process; stop that one first") from None
        self._handle = -1
        self._born_s = 0.0
        self.end = self._open()

    def close(self) -> None:
        """Let go of files and lock. Nothing needs flushing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        os.close(self._guard)

    def append(self, payload: bytes) -> Position:
        """Write and sync one entry; returns the position after it. Raises `DiskFull` (nothing written) or
        `LogFailed`.
        """
        with self._lock:
            if self.end.offset >= self._segment_bytes or time.time() - self._born_s > SEGMENT_S:
                self._begin(self.end.segment + 1)
            self.end = Position(self.end.segment, self._put(self._handle, self.end.offset, payload))
            return self.end

    def read(self, start: Position | None = None) -> Iterator[tuple[Position, bytes]]:
        """Entries from `start` (or the oldest kept) up to the end as it is now, each with the position after it."""
        end = self.end
        for number in segments(self.directory):
            if start is not None and number < start.segment:
                continue
            offset = start.offset if start is not None and number == start.segment else len(MAGIC)
            limit = end.offset if number == end.segment else None
            if number <= end.segment:
                for after, payload in read_segment(self.directory, number, offset, limit):
                    yield Position(number, after), payload

    def drop_before(self, position: Position, older_than_s: float) -> int:
        """Remove whole segments before `position` that were last written before `older_than_s`; returns how many."""
        dropped = 0
        with self._lock:
            for number in segments(self.directory):
                path = segment_path(self.directory, number)
                if number >= position.segment or number >= self.end.segment or path.stat().st_mtime >= older_than_s:
                    break
                path.unlink()
                dropped += 1
            if dropped:
                sync_directory(self.directory)
        return dropped

    def _open(self) -> Position:
        numbers = segments(self.directory)
        while numbers:
            path = segment_path(self.directory, numbers[-1])
            end = self._recover(path, numbers[-1])
            if end is not None:
                self._handle = os.open(path, os.O_RDWR)
                self._born_s = path.stat().st_mtime
                return Position(numbers[-1], end)
            self.cut_bytes += path.stat().st_size
            path.unlink()  # a crash while it began: its first entry never became whole, and the segment before holds everything
            numbers.pop()
        return self._begin(1)

    def _recover(self, path: Path, number: int) -> int | None:
        """Where the last segment's whole entries end; None if it holds none. Cuts off a torn tail."""
        raw = path.read_bytes()
        end = len(MAGIC)
        if raw[:end] != MAGIC:
            if len(raw) >= end and raw.strip(b"\x00"):
                raise LogDamaged(f"{path} does not begin as a log segment; move it aside and restore it from a backup")
            return None
        whole = False
        for end, _ in read_segment(self.directory, number, len(MAGIC), None, torn_ends=True):  # noqa: B007
            whole = True
        self._check_torn(path, raw, end)
        if not whole:
            return None
        if end < len(raw):
            self.cut_bytes += len(raw) - end
            with path.open("r+b") as stream:
                stream.truncate(end)
                os.fsync(stream.fileno())
        return end

    def _check_torn(self, path: Path, raw: bytes, end: int) -> None:
        """A torn tail has no whole entry after it: entries are written one at a time, each synced before the next."""
        at = raw.find(_MARK, end + 1)
        while at >= 0:
            if _entry_at(raw, at) is not None:
                raise LogDamaged(
                    f"{path} is damaged at byte {end} (a whole entry follows at {at}): restore it from a backup, "
                    f"or move {path.parent} aside"
                )
            at = raw.find(_MARK, at + 1)

    def _begin(self, number: int) -> Position:
        path = segment_path(self.directory, number)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise _failure(error, path) from None
        try:
            os.write(handle, MAGIC)
            end = self._put(handle, len(MAGIC), self._checkpoint())
            sync_directory(self.directory)
        except BaseException as error:
            os.close(handle)
            path.unlink()
            if isinstance(error, OSError):
                raise _failure(error, path) from None
            raise
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._born_s = handle, time.time()
        self.end = Position(number, end)
        return self.end

    def _put(self, handle: int, offset: int, payload: bytes) -> int:
        """Write one entry at `offset` and sync it; returns the offset after it."""
        if not 0 < len(payload) <= MAX_ENTRY_BYTES:
            raise ValueError(f"an entry has 1…{MAX_ENTRY_BYTES} bytes, not {len(payload)}")
        raw = _HEADER.pack(_MARK, len(payload), zlib.crc32(payload)) + payload
        try:
            written = os.pwrite(handle, raw, offset)
            while written < len(raw):  # a nearly full disk takes a part first and says ENOSPC at the next call
                written += os.pwrite(handle, raw[written:], offset + written)
        except OSError as error:
            os.ftruncate(handle, offset)
            raise _failure(error, self.directory) from None
        try:
            os.fdatasync(handle)
        except OSError as error:  # the kernel may have dropped the page: a second try would report success for lost bytes
            raise LogFailed(f"{self.directory}: the disk did not sync ({error.strerror}); replace the disk") from None
        return offset + len(raw)


def _failure(error: OSError, where: Path) -> DiskFull | LogFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):  # EFBIG: a limit of file sizes (ulimit -f, LimitFSIZE=)
        return DiskFull(f"{where}: {error.strerror}; free some space")
    return LogFailed(f"{where}: {error.strerror}")


def segment_path(directory: Path, number: int) -> Path:
    """The file of a segment."""
    return directory / f"{number:010d}.log"


def segments(directory: Path) -> list[int]:
    """The numbers of the segments in a directory, oldest first."""
    return sorted(int(path.stem) for path in directory.glob("??????????.log") if path.stem.isdigit())


def _entry_at(raw: bytes, offset: int) -> bytes | None:
    """The payload of the whole entry at `offset`, or None."""
    if offset + _HEADER.size > len(raw):
        return None
    mark, length, checksum = _HEADER.unpack_from(raw, offset)
    payload = raw[offset + _HEADER.size : offset + _HEADER.size + length]
    whole = mark == _MARK and 0 < length <= MAX_ENTRY_BYTES and len(payload) == length and zlib.crc32(payload) == checksum
    return payload if whole else None


def read_segment(
    directory: Path, number: int, offset: int, limit: int | None, torn_ends: bool = False
) -> Iterator[tuple[int, bytes]]:
    """Entries of one segment from `offset` to `limit`, each with the offset after it. Raises `LogDamaged` unless
    `torn_ends`.
    """
    path = segment_path(directory, number)
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size if limit is None else limit
        begins = stream.read(len(MAGIC))
        if begins != MAGIC and len(begins) == len(MAGIC) and begins.strip(b"\x00"):  # zeros: a crash while it began
            raise LogDamaged(f"{path} does not begin as a log segment; move it aside and restore it from a backup")
        stream.seek(offset)
        while offset < size:
            header = stream.read(_HEADER.size)
            length = _HEADER.unpack(header)[1] if len(header) == _HEADER.size else 0
            raw = header + (stream.read(length) if 0 < length <= MAX_ENTRY_BYTES else b"")
            payload = _entry_at(raw, 0)
            if payload is None:
                if torn_ends:
                    return
                raise LogDamaged(f"{path} is damaged at byte {offset}: restore it from a backup, or move {directory} aside")
            offset += len(raw)
            yield offset, payload
