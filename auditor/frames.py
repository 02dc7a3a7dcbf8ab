"""Frames by themselves: records, root, signature, path into the epoch. The heavy part of an audit, shared out over the cores (`workers`).

Each frame is judged alone, so order and number of processes cannot change a verdict.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import NamedTuple

from protocol import merkle
from protocol.bundle import BundledFrame, HiddenRecord
from protocol.errors import BadSignature, Malformed
from protocol.evidence import MAX_FRAME_RECORDS, Frame, Record, frame_digest, record_hash
from protocol.hashing import ZERO32
from protocol.keys import recover_address

from .reading import Slice, Source, read_slice
from .report import Problem, short

NOBODY = b""


class CheckedFrame(NamedTuple):
    """A frame and what it shows by itself: who signed it (NOBODY: no key makes that signature), and the root its path leads to.

    `link` counts in the bundle's links; None: not anchored. The last three follow from frame and records, and every check asks for them:
    its first and last sequence, and when its last record that is not hidden ended (0: all are).
    """

    frame: Frame
    digest: bytes
    signer: bytes
    link: int | None
    root: bytes
    records: tuple[Record | HiddenRecord, ...]
    first: int
    last: int
    ended_s: int

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
    ended_s = max([record.end_s for record in records if type(record) is Record], default=0)
    last = frame.first_sequence + frame.count - 1
    checked = CheckedFrame(frame, digest, signer, link, root, records, frame.first_sequence, last, ended_s)
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


def examine_slice(source: Source, part: Slice) -> Chunk:
    """The frames of one slice. Raises `Malformed` naming the frame whose form is wrong."""
    chunk = Chunk([], [])
    for bundled in read_slice(source, part):
        checked, problems = examine(bundled, f"frame of record {bundled.frame.first_sequence}")
        chunk.frames.append(checked)
        if problems:
            chunk.problems.extend(problems)
    return chunk


def stray_problems(frames: Sequence[CheckedFrame], device: bytes, keys: Container[bytes], roots: Sequence[bytes]) -> list[Problem]:
    """Problems of frames with the bundle around them: another device, a stranger's signature, a path to another root."""
    problems = []
    for frame in frames:
        head, _, signer, link, root, *_ = frame
        if head.device != device:
            problems.append(Problem("record-hashes", frame.name, f"is of device {short(head.device)}, not of the bill's"))
        if signer not in keys and signer != NOBODY:
            what = f"signed by 0x{signer.hex()}, which was never a meter key of this device, or changed after signing"
            problems.append(Problem("frame-signatures", frame.name, what))
        if link is not None and link >= len(roots):
            problems.append(Problem("epoch-inclusion", frame.name, f"names link {link}, and there are {len(roots)}"))
        elif link is not None and root != roots[link]:
            problems.append(Problem("epoch-inclusion", frame.name, f"its path does not lead to the root of link {link}"))
    return problems
