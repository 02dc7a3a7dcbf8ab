"""What the buyer must remember across restarts: the session it opened, what it signed, what its own meter showed, why it did what it did.

An entry is on the disk before a signature in it leaves. Two kinds: `state` (everything, whenever something but a payment changes, with the
event that changed it) and `paid` (the payments of one answer). Opening reads the last segment and has the state again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from onsite.errors import LogDamaged
from onsite.log import MAGIC, Position, SegmentLog, read_segment, segments
from onsite.settings import Bytes32, Strict

KEEP_S = 30 * 86_400
"""History older than this goes, a segment at a time."""


class Mark(Strict):
    """A reading of the own meter that comparisons begin from."""

    began_ms: int
    ended_ms: int
    milliwatt_hours: int
    step_milliwatt_hours: int


class Paid(Strict):
    """The last payment signed: `document` as it is sent."""

    amount_micro: int = 0
    sequence: int = 0
    frame: Bytes32 = bytes(32)
    document: dict[str, Any] | None = None
    own: Mark | None = None


class Live(Strict):
    """The session that was opened. Documents as they are sent; `opening` is the body of `POST /sessions`."""

    session: Bytes32
    quote: dict[str, Any]
    offer: Bytes32 | None
    opening: dict[str, Any]
    made_at_s: int
    lock_micro: int
    opened_at_s: int = 0
    own: Mark | None = None  # when it was opened
    paid: Paid = Paid()
    top_up: dict[str, Any] | None = None
    stop: dict[str, Any] | None = None
    why: str = ""  # it is to end
    refused: str = ""  # a frame was not paid, nor any after it


class Ending(Strict):
    """Where the last session's register stood."""

    meter_hash: Bytes32
    milliwatt_hours: int


class State(Strict):
    """Everything. `day` is a UTC day since 1970; `day_micro` what was newly locked on it, counted before the signature leaves."""

    live: Live | None = None
    day: int = 0
    day_micro: int = 0
    ending: Ending | None = None
    disputed: str = ""
    choice: dict[str, Any] | None = None

    def locked_on(self, day: int) -> int:
        return self.day_micro if self.day == day else 0


class Journal:
    """The synced log with what it adds up to, `state`. One thread."""

    def __init__(self, directory: Path) -> None:
        self.state = State()
        self._log = SegmentLog(directory, self._checkpoint)
        for _, raw in self._log.read(Position(self._log.end.segment, len(MAGIC))):
            self.state = _applied(self.state, _entry(raw))

    def save(self, state: State, kind: str, **event: Any) -> None:
        """Make a new state durable, with what happened: raises `DiskFull` or `LogFailed`, and then nothing happened."""
        entry = {"kind": "state", "atS": int(time.time()), "event": {"kind": kind} | event, "state": _document(state)}
        self._log.append(orjson.dumps(entry))
        self.state = state

    def paid(self, payments: Sequence[Paid]) -> None:
        """Make payments durable, in order, with one sync. Only then may any of them leave."""
        self._log.append(orjson.dumps({"kind": "paid", "atS": int(time.time()), "payments": [_document(each) for each in payments]}))
        live = self.state.live
        assert live is not None, "a payment without a session"
        self.state = self.state.model_copy(update={"live": live.model_copy(update={"paid": payments[-1]})})

    def tidy(self) -> None:
        """Drop what is old. The state stands in the newest segment."""
        self._log.drop_before(self._log.end, time.time() - KEEP_S)

    def close(self) -> None:
        self._log.close()

    def _checkpoint(self) -> bytes:
        return orjson.dumps({"kind": "state", "atS": int(time.time()), "event": {"kind": "checkpoint"}, "state": _document(self.state)})


def _document(model: Strict) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True)


def _entry(raw: bytes) -> dict[str, Any]:
    try:
        entry = orjson.loads(raw)
        if isinstance(entry, dict) and entry["kind"] in ("state", "paid"):
            return entry
    except (ValueError, KeyError):
        pass
    raise LogDamaged("the journal holds an entry that cannot be read: was it written by a newer version?")


def _applied(state: State, entry: dict[str, Any]) -> State:
    try:
        if entry["kind"] == "state":
            return State.model_validate(entry["state"])
        assert state.live is not None
        paid = Paid.model_validate(entry["payments"][-1])
        return state.model_copy(update={"live": state.live.model_copy(update={"paid": paid})})
    except (ValidationError, KeyError, IndexError, AssertionError) as error:
        raise LogDamaged(f"the journal holds an entry that cannot be read: was it written by a newer version? ({error})") from None


def history(directory: Path) -> Iterator[tuple[dict[str, Any], State]]:
    """Every entry kept and the state after it, read without taking the journal: for people, while the buyer runs."""
    state = State()
    for number in segments(directory):
        for _, raw in read_segment(directory, number, len(MAGIC), None, torn_ends=True):
            entry = _entry(raw)
            state = _applied(state, entry)
            yield entry, state
