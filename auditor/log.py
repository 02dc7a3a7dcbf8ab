"""The device's log as a whole: sequence, chain of frames, incarnations.

Guarantees: a deleted record or frame is named by its sequence; two branches that overlap in time are named. A log that was rolled back
without overlap in time is accepted and said so (registers are absolute, so no energy hides there).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from protocol.bundle import SessionFacts
from protocol.evidence import Record

from .frames import CheckedFrame
from .report import Check, Problem, judge, short


class Log(NamedTuple):
    """The log in its order, with what only the whole shows."""

    frames: tuple[CheckedFrame, ...]
    problems: tuple[Problem, ...]
    rolled_back: tuple[str, ...]  # accepted, and shown

    def records(self) -> list[Record]:
        """All records that are not hidden, in order; of a sequence taken twice after a roll-back the first."""
        found: list[Record] = []
        last = -1
        for frame in self.frames:
            for record in frame.records:
                if isinstance(record, Record) and record.sequence > last:
                    found.append(record)
                    last = record.sequence
        return found


def walk(frames: Sequence[CheckedFrame]) -> Log:
    """The frames in the file's order, each against the one before."""
    problems: list[Problem] = []
    rolled_back: list[str] = []
    seen_incarnations: set[bytes] = set()
    place: dict[bytes, int] = {}
    before: CheckedFrame | None = None
    ended_s = 0  # of everything so far
    for position, now in enumerate(frames):
        incarnation = now.frame.incarnation
        same = before is not None and incarnation == before.frame.incarnation
        if not same:
            if incarnation in seen_incarnations:
                problems.append(Problem("incarnations", now.name, f"incarnation {short(incarnation)} comes back after another had begun"))
            seen_incarnations.add(incarnation)
        if before is not None and not (same and now.first == before.last + 1 and now.frame.previous_frame == before.digest):
            fork = place.get(now.frame.previous_frame)
            if fork is not None and not same and now.first <= before.last:
                _judge_fork(now, frames[fork], before, ended_s, problems, rolled_back)
            else:
                _judge_step(before, now, problems)
        place[now.digest] = position
        before = now
        if now.ended_s > ended_s:
            ended_s = now.ended_s
    return Log(tuple(frames), tuple(problems), tuple(rolled_back))


def _judge_step(before: CheckedFrame, now: CheckedFrame, problems: list[Problem]) -> None:
    expected = before.last + 1
    if now.first > expected:
        missing = f"record {expected}" if now.first == expected + 1 else f"records {expected}…{now.first - 1}"
        problems.append(Problem("sequence", missing, f"missing: the file goes from {before.name} to {now.name}"))
    elif now.first < expected:
        problems.append(Problem("sequence", now.name, f"stands after {before.name}"))
    if now.frame.previous_frame != before.digest:
        what = f"names {short(now.frame.previous_frame)} as the frame before it, the file has {short(before.digest)} ({before.name})"
        problems.append(Problem("frame-chain", now.name, what))


def _judge_fork(
    now: CheckedFrame, fork: CheckedFrame, before: CheckedFrame, ended_s: int, problems: list[Problem], rolled_back: list[str]
) -> None:
    """A new incarnation that goes on from an older frame: a log that was rolled back, unless the branches overlap in time."""
    if now.first != fork.last + 1:
        problems.append(Problem("sequence", now.name, f"goes on from {fork.name}, which ends at {fork.last}"))
    begun_s = min((r.start_s for r in now.records if isinstance(r, Record)), default=ended_s)
    if begun_s < ended_s:
        beside = f"beside one that runs to {ended_s} s ({before.name})"
        what = f"begins at {begun_s} s on a branch from {fork.name}, {beside}: two histories of one time"
        problems.append(Problem("equivocation", now.name, what))
    else:
        rolled_back.append(f"the log was rolled back to {fork.name} before {now.name}; the branches do not overlap in time")


def coverage(session: SessionFacts, log: Log) -> list[Problem]:
    """Problems with the records a bill needs: its first and its last."""
    if not log.frames:
        return [Problem("sequence", f"records {session.first_sequence}…{session.last_sequence}", "missing: the file has no frames")]
    problems = []
    first, last = min(frame.first for frame in log.frames), max(frame.last for frame in log.frames)
    if session.first_sequence < first:
        problems.append(Problem("sequence", f"records {session.first_sequence}…{first - 1}", "missing: the bill begins before the file"))
    if session.last_sequence > last:
        problems.append(Problem("sequence", f"records {last + 1}…{session.last_sequence}", "missing: the bill ends after the file"))
    if session.last_sequence < session.first_sequence:
        what = f"the bill's last, stands before its first ({session.first_sequence})"
        problems.append(Problem("sequence", f"record {session.last_sequence}", what))
    return problems


def log_checks(problems: Sequence[Problem], log: Log, conflict_notes: Sequence[str], hidden: bool) -> list[Check]:
    """The verdicts of this family."""
    count = sum(frame.frame.count for frame in log.frames)
    incarnations = len({frame.frame.incarnation for frame in log.frames})
    back = "".join(f"; {note}" for note in log.rolled_back)
    seen = ", where they can be seen" if hidden else ""
    conflicts = "; ".join(conflict_notes) or "no conflicting frames are shown"
    return [
        judge("sequence", problems, f"{count} records, none missing"),
        judge("frame-chain", problems, f"{len(log.frames)} frames, each named by the next{back}"),
        judge("incarnations", problems, f"{incarnations} start(s) of the agent"),
        judge("equivocation", problems, conflicts),
        judge("registers", problems, "they never fall, and rise no faster than the rating allows" + seen),
    ]
