"""The cores at work on a bundle's frames: forked processes that have its text already, so that only what they found crosses a pipe.

Each frame is judged alone, so the number of processes, and which of them had which frames, changes no verdict.
"""

from __future__ import annotations

import gc
import marshal
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from protocol.bundle import HiddenRecord
from protocol.errors import ProtocolError
from protocol.evidence import Frame, Record

from . import frames
from .frames import CheckedFrame, Chunk
from .reading import Slice, Source
from .report import Problem

_MARSHAL = 2
"""Its version without references: frames share few objects, and looking for those costs more than writing them again."""

Examine = Callable[[Iterable[Slice]], Iterator[Chunk]]


def cores(processes: int | None = None) -> int:
    """How many processes are of use at most: as many as asked for, or the machine's cores; one where processes cannot be forked."""
    return (processes or os.cpu_count() or 1) if "fork" in multiprocessing.get_all_start_methods() else 1


@contextmanager
def workers(count: int, source: Source) -> Iterator[Examine]:
    """A function that examines slices of `source` on `count` cores: all are handed out at once, and their chunks come in order.

    Taking a chunk raises `Malformed` naming the frame. With one core or none the work is done when a chunk is taken.
    """
    if count <= 1:
        yield lambda slices: (frames.examine_slice(source, part) for part in slices)
        return
    # Forked, they have the text already, also what is yet to be unpacked. One that is killed breaks the pool, not the wait.
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("fork"), _enter, (source,))
    try:
        yield lambda slices: map(_unpacked, pool.map(_examine, slices))
    finally:
        pool.shutdown(cancel_futures=True)


_source = Source(b"", 0)


def _enter(source: Source) -> None:
    global _source
    _source = source
    gc.disable()  # a worker builds trees of tuples without a cycle, and ends soon


def _examine(part: Slice) -> bytes | ProtocolError:
    try:
        return _packed(frames.examine_slice(_source, part))
    except ProtocolError as error:
        return error


def _packed(chunk: Chunk) -> bytes:
    """A chunk for the pipe. Named tuples pickle slowly; plain ones go through `marshal` in a quarter of the time, to the same program."""
    rows = [(tuple(frame[0]), *frame[1:5], [tuple(record) for record in frame[5]], *frame[6:]) for frame in chunk.frames]
    return marshal.dumps((rows, [tuple(problem) for problem in chunk.problems]), _MARSHAL)


def _unpacked(result: bytes | ProtocolError) -> Chunk:
    if isinstance(result, ProtocolError):
        raise result
    rows, problems = marshal.loads(result)  # noqa: S302  # of a process of ours
    new = tuple.__new__
    found = []
    for frame, digest, signer, link, root, records, first, last, ended_s in rows:
        named = tuple([new(Record if len(record) > 2 else HiddenRecord, record) for record in records])
        found.append(new(CheckedFrame, (new(Frame, frame), digest, signer, link, root, named, first, last, ended_s)))
    return Chunk(found, [Problem(*problem) for problem in problems])
