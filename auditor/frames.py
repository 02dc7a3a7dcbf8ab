"""Frames by themselves: records, root, signature, path into the epoch. The heavy part of an audit, shared out over the cores.

Each frame is judged alone, so order and number of processes cannot change a verdict.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Iterator
from typing import NamedTuple

from protocol import merkle
from protocol.bundle import BundledFrame, HiddenRecord
from protocol.errors import BadSignature, Malformed, ProtocolError
from protocol.evidence import MAX_FRAME_RECORDS, Frame, Record, frame_digest, record_hash
from protocol.keys import check_signature, recover_address

from .reading import Slice, read_slice
from .report import Problem, short

NO_KEY = -1


class Work(NamedTuple):
    """What the frames are judged against: meter keys the device ever had, and the roots of the bundle's anchor links."""

    device: bytes
    keys: tuple[bytes, ...]
    roots: tuple[bytes, ...]


class CheckedFrame(NamedTuple):
    """A frame and what was found. `key` counts in `Work.keys`, `link` in the bundle's links (None: not anchored)."""

    position: int
    frame: Frame
    digest: bytes
    key: int
    link: int | None
    records: tuple[Record | HiddenRecord, ...]

    @property
    def first(self) -> int:
        return self.frame.first_sequence

    @property
    def last(self) -> int:
        return self.frame.first_sequence + self.frame.count - 1

    @property
    def name(self) -> str:
        """How a person finds it: by the sequences it covers."""
        return f"record {self.first}" if self.frame.count == 1 else f"records {self.first}…{self.last}"


class Chunk(NamedTuple):
    frames: list[CheckedFrame]
    problems: list[Problem]


def examine(bundled: BundledFrame, position: int, where: str, work: Work) -> tuple[CheckedFrame, list[Problem]]:
    """One frame judged alone. Raises `Malformed` for numbers that no frame or record can hold."""
    frame, signature, records, _, link, path = bundled
    problems: list[Problem] = []
    try:
        digest = frame_digest(frame)
        checked = CheckedFrame(position, frame, digest, _signer(digest, signature, work.keys), link, records)
        _check_records(checked, problems)
    except Malformed as error:
        raise Malformed(error.what, f"{where}.frame.{error.where}") from None
    name = checked.name
    if frame.device != work.device:
        problems.append(Problem("record-hashes", name, f"is of device {short(frame.device)}, not of the bill's"))
    if checked.key == NO_KEY:
        problems.append(Problem("frame-signatures", name, _stranger(digest, signature)))
    if link is not None:
        if link >= len(work.roots):
            problems.append(Problem("epoch-inclusion", name, f"names link {link}, and there are {len(work.roots)}"))
        elif merkle.root_from_path(digest, path) != work.roots[link]:
            problems.append(Problem("epoch-inclusion", name, f"its path does not lead to the root of link {link}"))
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


def _signer(digest: bytes, signature: bytes, keys: tuple[bytes, ...]) -> int:
    for i, key in enumerate(keys):
        try:
            check_signature(digest, signature, key)
        except BadSignature:
            continue
        return i
    return NO_KEY


def _stranger(digest: bytes, signature: bytes) -> str:
    try:
        stranger = recover_address(digest, signature).hex()
        return f"signed by 0x{stranger}, which was never a meter key of this device, or changed after signing"
    except BadSignature as error:
        return f"the signature is none: {error}"


def examine_slice(part: Slice, work: Work) -> Chunk:
    """The frames of one slice. Raises `Malformed` naming the frame whose form is wrong."""
    chunk = Chunk([], [])
    for i, bundled in enumerate(read_slice(part)):
        checked, problems = examine(bundled, part.first + i, f"frames[{part.first + i}]", work)
        chunk.frames.append(checked)
        chunk.problems.extend(problems)
    return chunk


_shared: tuple[list[Slice], Work] | None = None


def _enter(slices: list[Slice], work: Work) -> None:
    global _shared
    _shared = slices, work
    gc.disable()  # a worker builds trees of tuples without a cycle, and ends soon


def _examine_shared(number: int) -> Chunk | ProtocolError:
    assert _shared is not None
    slices, work = _shared
    try:
        return examine_slice(slices[number], work)
    except ProtocolError as error:
        return error


def examine_all(slices: list[Slice], work: Work, processes: int | None = None) -> Iterator[Chunk]:
    """All slices in order, on `processes` cores (default: all there are). Raises `Malformed` naming the frame."""
    count = min(processes or os.cpu_count() or 1, len(slices))
    if count <= 1 or "fork" not in multiprocessing.get_all_start_methods():
        for part in slices:
            yield examine_slice(part, work)
        return
    # Forked, the workers have the text already; only what they found crosses a pipe.
    with multiprocessing.get_context("fork").Pool(count, _enter, (slices, work)) as pool:
        for result in pool.imap(_examine_shared, range(len(slices))):
            if isinstance(result, ProtocolError):
                raise result
            yield result
