"""The agent's log: frames, what was signed about them, and the agent's state, each step in one entry that is there
whole or not at all.

An entry holds any of: a signed frame exactly as it is sent, a reading not yet framed (a *draft*), a charge, OCMF
texts, a new state, and the *tip* (where the chain of frames stands). A frame, the charge that names it and the state
it leads to therefore survive a crash together. Opening finds the last state, the tip and the drafts after the last
frame.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from onsite.errors import LogDamaged
from onsite.log import MAGIC, Position, SegmentLog
from onsite.settings import Bytes32, Strict
from protocol.hashing import ZERO32
from protocol.wire import SignedFrame, decode_frame, encode_frame

from .state import State

_SECTION = struct.Struct(">cI")


class Good(Strict):
    """The last reading whose register was believed."""

    serial: str
    placement: str
    import_milliwatt_hours: int
    export_milliwatt_hours: int
    at_s: int
    modulus_milliwatt_hours: int
    step_milliwatt_hours: int


class Tip(Strict):
    """Where the records and frames of this device stand."""

    previous_frame: Bytes32 = ZERO32
    next_sequence: int = 1
    end_s: int = 0
    head_seen: Bytes32 = ZERO32
    good: Good | None = None
    ocmf_number: int = 0


class Entry(NamedTuple):
    """One step. `frame` is wire bytes; `drafts` are wire frames of one record with an all-zero signature."""

    frame: bytes | None = None
    drafts: tuple[bytes, ...] = ()
    charge: dict[str, Any] | None = None
    ocmf: tuple[dict[str, Any], ...] = ()
    hand_over: dict[str, Any] | None = None
    state: State | None = None
    tip: Tip | None = None

    def encode(self) -> bytes:
        sections: list[tuple[bytes, bytes]] = []
        if self.frame is not None:
            sections.append((b"F", self.frame))
        sections += [(b"D", draft) for draft in self.drafts]
        if self.charge is not None:
            sections.append((b"C", orjson.dumps(self.charge)))
        sections += [(b"O", orjson.dumps(text)) for text in self.ocmf]
        if self.hand_over is not None:
            sections.append((b"H", orjson.dumps(self.hand_over)))
        if self.state is not None:
            sections.append((b"S", self.state.encode()))
        if self.tip is not None:
            sections.append((b"T", self.tip.model_dump_json(by_alias=True).encode()))
        return b"".join(_SECTION.pack(tag, len(raw)) + raw for tag, raw in sections)

    @classmethod
    def decode(cls, payload: bytes) -> Entry:
        found: dict[bytes, list[bytes]] = {tag: [] for tag in (b"F", b"D", b"C", b"O", b"H", b"S", b"T")}
        offset = 0
        while offset < len(payload):
            tag, length = _SECTION.unpack_from(payload.ljust(offset + _SECTION.size, b"?"), offset)
            offset += _SECTION.size
            if tag not in found or offset + length > len(payload):
                raise LogDamaged(f"the log holds an entry with an unknown part {tag!r}: was it written by a newer version?")
            found[tag].append(payload[offset : offset + length])
            offset += length
        try:
            return cls._of(found)
        except ValueError as error:  # JSON and pydantic both
            raise LogDamaged(f"the log holds an entry that cannot be read: was it written by a newer version? ({error})") from None

    @classmethod
    def _of(cls, found: dict[bytes, list[bytes]]) -> Entry:
        return cls(
            found[b"F"][0] if found[b"F"] else None,
            tuple(found[b"D"]),
            orjson.loads(found[b"C"][0]) if found[b"C"] else None,
            tuple(orjson.loads(raw) for raw in found[b"O"]),
            orjson.loads(found[b"H"][0]) if found[b"H"] else None,
            State.decode(found[b"S"][0]) if found[b"S"] else None,
            Tip.model_validate_json(found[b"T"][0]) if found[b"T"] else None,
        )


class Journal:
    """The log with what it adds up to: `state`, `tip`, `drafts`. One thread appends; any thread may read."""

    def __init__(self, directory: Path, first_state: State) -> None:
        self.state = first_state
        self.tip = Tip()
        self.drafts: list[SignedFrame] = []
        self._pending: State | None = None
        self.grown = threading.Condition()
        """Notified after every append: the sender waits on it."""
        self._log = SegmentLog(directory, self._checkpoint)
        self.cut_bytes = self._log.cut_bytes
        for _, payload in self._log.read(Position(self._log.end.segment, len(MAGIC))):
            self._apply(Entry.decode(payload))

    def append(self, entry: Entry) -> None:
        """Make a step durable, then real. Raises `DiskFull`, `LogFailed`; then nothing happened."""
        if entry.state is None and self._pending is not None:
            entry = entry._replace(state=self._pending)
        self._log.append(entry.encode())
        self._apply(entry)
        self._pending = None
        with self.grown:
            self.grown.notify_all()

    def save(self, state: State) -> None:
        """Make a new state durable."""
        self.append(Entry(state=state))

    def amend(self, state: State) -> None:
        """Change the state without syncing it: for what may be done twice. The next entry makes it durable."""
        self.state = self._pending = state

    def settle(self) -> None:
        """Make an amended state durable now."""
        if self._pending is not None:
            self.save(self._pending)

    @property
    def end(self) -> Position:
        """Where the next entry will stand, or, when a segment is full, a place before it."""
        return self._log.end

    def entries(self, start: Position | None) -> Iterator[tuple[Position, Entry]]:
        """Entries from a position on (None: the oldest kept), each with the position after it."""
        for after, payload in self._log.read(start):
            yield after, Entry.decode(payload)

    def session_records(self) -> Iterator[tuple[SignedFrame, int]]:
        """The records of the live session, each as (frame holding it, index), drafts last."""
        live = self.state.live
        if live is None or live.start is None or live.first_sequence is None:
            return
        frames = (decode_frame(entry.frame) for _, entry in self.entries(live.start) if entry.frame is not None)
        for signed in chain(frames, self.drafts):
            for i, record in enumerate(signed.records):
                if record.sequence >= live.first_sequence:
                    yield signed, i

    def drop_before(self, position: Position, older_than_s: float) -> int:
        """Remove segments that are acknowledged, old enough, and not needed to price the live session."""
        live = self.state.live
        if live is not None and live.start is not None:
            position = min(position, live.start)
        return self._log.drop_before(position, older_than_s)

    def close(self) -> None:
        self._log.close()

    def _checkpoint(self) -> bytes:
        return Entry(state=self.state, tip=self.tip, drafts=tuple(encode_frame(d) for d in self.drafts)).encode()

    def _apply(self, entry: Entry) -> None:
        if entry.frame is not None:
            self.drafts.clear()  # a frame always takes all records that were waiting
        self.drafts += [decode_frame(raw) for raw in entry.drafts]
        self.state = entry.state or self.state
        self.tip = entry.tip or self.tip
