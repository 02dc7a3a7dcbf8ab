"""Frames by themselves: records, root, signature, path into the epoch. The heavy part of an audit, shared out over the cores.

Each frame is judged alone, so order and number of processes cannot change a verdict.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Container, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

from protocol import merkle
from protocol.bundle import BundledFrame, HiddenRecord
from protocol.errors import BadSignature, Malformed, ProtocolError
from protocol.evidence import MAX_FRAME_RECORDS, Frame, Record, frame_digest, record_hash
from protocol.hashing import ZERO32
from protocol.keys import recover_address

from .reading import Slice, read_slice
from .report import Problem, short

NOBODY = b""


class CheckedFrame(NamedTuple):
    """A frame and what it shows by itself: who signed it (NOBODY: no key makes that signature), and the root its path leads to.

    `link` counts in the bundle's links; None: not anchored.
    """

    frame: Frame
    digest: bytes
    signer: bytes
    link: int | None
    root: bytes
    records: tuple[Record | HiddenRecord, ...]

    @property
    def first(self) -> int:
        return self.frame.first_sequence

    @property
    def last(self) -> int:
        return self.frame.first_sequence + self.frame.count - 1

    @property
    def ended_s(self) -> int:
        """When its last record that is not hidden ended; 0 if all are."""
        return max((record.end_s for record in self.records if isinstance(record, Record)), default=0)

    @property
    def name(self) -> str:
        """How a person finds it: by the sequences it covers."""
        return f"record {self.first}" if self.frame.count == 1 else f"records {self.first}…{self.last}"


class Chunk(NamedTuple):
    frames: list[CheckedFrame]
    problems: list[Problem]


def examine(bundled: BundledFrame, where: str) -> tuple[CheckedFrame, list[Problem]]:
    """One frame judged alone. Raises `Malformed` for numbers that no frame or record can hold."""
    frame, signature, records, _, link, path = bundled
    problems: list[Problem] = []
    try:
        digest = frame_digest(frame)
        signer = recover_address(digest, signature)
    except BadSignature as error:
        signer = NOBODY
        problems.append(Problem("frame-signatures", f"record {frame.first_sequence}", f"the signature is none: {error}"))
    except Malformed as error:
        raise Malformed(error.what, f"{where}.frame.{error.where}") from None
    root = merkle.root_from_path(digest, path) if link is not None else ZERO32
    checked = CheckedFrame(frame, digest, signer, link, root, records)
    try:
        _check_records(checked, problems)
    except Malformed as error:
        raise Malformed(error.what, f"{where}.frame.{error.where}") from None
    return checked, problems


def _check_records(checked: CheckedFrame, problems: list[Problem]) -> None:
    frame, records = checked.frame, checked.records
    if len(records) == 1 == frame.count and records[0].sequence == frame.first_sequence:
        record = records[0]
        if (record_hash(record) if type(record) is Record else record[1]) != frame.records_root:
            problems.append(Problem("record-hashes", checked.name, "was changed: it does not hash to what was signed"))
        return
    found = [record.sequence for record in records]
    if len(found) != frame.count or found != list(range(frame.first_sequence, frame.first_sequence + frame.count)):
        _name_missing(checked, found, problems)
        return
    hashes = [record_hash(record) if isinstance(record, Record) else record.record_hash for record in records]
    if merkle.root(hashes) != frame.records_root:
        problems.append(Problem("record-hashes", checked.name, "at least one was changed: they do not hash to the root that was signed"))


def _name_missing(checked: CheckedFrame, found: list[int], problems: list[Problem]) -> None:
    first, count = checked.frame.first_sequence, min(checked.frame.count, MAX_FRAME_RECORDS)
    missing = sorted(set(range(first, first + count)) - set(found))
    for sequence in missing:
        problems.append(Problem("sequence", f"record {sequence}", f"is missing from its frame ({checked.name}), which was signed with it"))
    if not missing:
        problems.append(
            Problem("sequence", checked.name, f"the frame was signed over {checked.frame.count} records, the file has {found[:5]}…")
        )


def examine_slice(part: Slice) -> Chunk:
    """The frames of one slice. Raises `Malformed` naming the frame whose form is wrong."""
    chunk = Chunk([], [])
    for bundled in read_slice(part):
        checked, problems = examine(bundled, f"frame of record {bundled.frame.first_sequence}")
        chunk.frames.append(checked)
        if problems:
            chunk.problems.extend(problems)
    return chunk


_Plain = tuple[list[tuple[Any, ...]], list[Problem]]
"""A chunk as plain tuples: named ones take three times as long through a pipe."""


def _plain(chunk: Chunk) -> _Plain:
    return [(tuple(f.frame), f.digest, f.signer, f.link, f.root, [tuple(r) for r in f.records]) for f in chunk.frames], chunk.problems


def _named(plain: _Plain) -> Chunk:
    new = tuple.__new__
    frames = []
    for frame, digest, signer, link, root, records in plain[0]:
        named = tuple([new(Record if len(r) > 2 else HiddenRecord, r) for r in records])
        frames.append(new(CheckedFrame, (new(Frame, frame), digest, signer, link, root, named)))
    return Chunk(frames, plain[1])


_slices: list[Slice] = []


def _enter(slices: list[Slice]) -> None:
    global _slices
    _slices = slices
    gc.disable()  # a worker builds trees of tuples without a cycle, and ends soon


def _examine_shared(number: int) -> _Plain | ProtocolError:
    try:
        return _plain(examine_slice(_slices[number]))
    except ProtocolError as error:
        return error


@contextmanager
def examination(slices: list[Slice], processes: int | None = None) -> Iterator[Iterator[Chunk]]:
    """The slices' chunks in order, worked out on `processes` cores (default: all) from the moment this is entered.

    Taking them raises `Malformed` naming the frame.
    """
    count = min(processes or os.cpu_count() or 1, len(slices))
    if count <= 1 or "fork" not in multiprocessing.get_all_start_methods():
        yield (examine_slice(part) for part in slices)
        return
    # Forked, the workers have the text already; only what they found crosses a pipe. A worker that is killed breaks the pool, not the wait.
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("fork"), _enter, (slices,))
    try:
        yield map(_unwrap, pool.map(_examine_shared, range(len(slices))))
    finally:
        pool.shutdown(cancel_futures=True)


def _unwrap(result: _Plain | ProtocolError) -> Chunk:
    if isinstance(result, ProtocolError):
        raise result
    return _named(result)


def belongs(frame: CheckedFrame, device: bytes, keys: Container[bytes], roots: Sequence[bytes]) -> list[Problem]:
    """Problems of a frame with the bundle around it: another device, a stranger's signature, a path to another root."""
    problems = []
    if frame.frame.device != device:
        problems.append(Problem("record-hashes", frame.name, f"is of device {short(frame.frame.device)}, not of the bill's"))
    if frame.signer not in keys and frame.signer != NOBODY:
        what = f"signed by 0x{frame.signer.hex()}, which was never a meter key of this device, or changed after signing"
        problems.append(Problem("frame-signatures", frame.name, what))
    if frame.link is not None and frame.link >= len(roots):
        problems.append(Problem("epoch-inclusion", frame.name, f"names link {frame.link}, and there are {len(roots)}"))
    elif frame.link is not None and frame.root != roots[frame.link]:
        problems.append(Problem("epoch-inclusion", frame.name, f"its path does not lead to the root of link {frame.link}"))
    return problems
