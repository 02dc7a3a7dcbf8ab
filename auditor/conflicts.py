"""Equivocation: frames refused because another stands at their place. Both are kept and shown, and nothing disputed is billed unruled."""

from __future__ import annotations

from collections.abc import Container, Sequence

from protocol.bundle import SessionFacts, Signed
from protocol.evidence import Record, Ruling

from .frames import CheckedFrame
from .log import Log
from .report import Problem, short


def conflict_problems(
    session: SessionFacts, log: Log, conflicts: Sequence[CheckedFrame], rulings: Sequence[Signed[Ruling]], keys: Container[bytes]
) -> tuple[list[Problem], list[str]]:
    """Frames kept as proof of equivocation: they must be proof, and nothing disputed may be billed without a ruling."""
    problems: list[Problem] = []
    notes: list[str] = []
    held = {(frame.frame.incarnation, frame.first): frame for frame in log.frames}
    for conflict in conflicts:
        if conflict.signer not in keys:
            problems.append(Problem("equivocation", conflict.name, "is shown as a conflict, but no key of the device signed it"))
            continue
        if not _reached(session, log, conflict):
            notes.append(f"{conflict.name}: two frames; the bill stops before")
            continue
        ruled = next((r.value for r in rulings if _covers(r.value, session, conflict)), None)
        if ruled is None:
            what = "the device signed two frames for this place, and it is billed without a ruling"
            problems.append(Problem("equivocation", conflict.name, what))
            continue
        places = ((conflict.frame.incarnation, conflict.first), (ruled.incarnation, ruled.first_sequence))
        there = {held[place].digest for place in places if place in held}
        # A branch that lost against another incarnation has no place in this log: then the accepted frame must be in it somewhere.
        if ruled.accepted_frame not in (there or {frame.digest for frame in log.frames}):
            what = f"the ruling accepts frame {short(ruled.accepted_frame)}, the bill uses another"
            problems.append(Problem("equivocation", conflict.name, what))
        else:
            notes.append(f"{conflict.name}: two frames, a ruling says which holds")
    return problems, notes


def _reached(session: SessionFacts, log: Log, conflict: CheckedFrame) -> bool:
    """Whether the bill goes on past a disputed place: by the sequence on its own branch, by time beside another."""
    begun = [record.start_s for record in conflict.records if isinstance(record, Record)]
    if not begun or any(frame.frame.incarnation == conflict.frame.incarnation for frame in log.frames):
        return conflict.first <= session.last_sequence
    billed_to_s = max((frame.ended_s for frame in log.frames if frame.first <= session.last_sequence), default=0)
    return min(begun) < billed_to_s


def _covers(ruling: Ruling, session: SessionFacts, conflict: CheckedFrame) -> bool:
    return (
        (ruling.session, ruling.device, ruling.incarnation) == (session.session, session.device, conflict.frame.incarnation)
        and ruling.first_sequence <= conflict.first
        and conflict.last <= ruling.last_sequence
    )
