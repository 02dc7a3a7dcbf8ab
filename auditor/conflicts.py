"""Equivocation: frames refused because another stands at their place. Both are kept and shown, and nothing disputed is billed unruled."""

from __future__ import annotations

from collections.abc import Container, Sequence

from protocol.bundle import SessionFacts, Signed
from protocol.evidence import Ruling

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
        ruled = next((r.value for r in rulings if _covers(r.value, session, conflict)), None)
        other = held.get((conflict.frame.incarnation, conflict.first))
        if ruled is not None:
            stands = conflict.digest if other is None else other.digest
            if ruled.accepted_frame != stands:
                what = f"the ruling accepts frame {short(ruled.accepted_frame)}, the bill uses another"
                problems.append(Problem("equivocation", conflict.name, what))
            else:
                notes.append(f"{conflict.name}: two frames, a ruling says which holds")
        elif conflict.first <= session.last_sequence:
            what = "the device signed two frames for this place, and it is billed without a ruling"
            problems.append(Problem("equivocation", conflict.name, what))
        else:
            notes.append(f"{conflict.name}: two frames; the bill stops before")
    return problems, notes


def _covers(ruling: Ruling, session: SessionFacts, conflict: CheckedFrame) -> bool:
    return (
        (ruling.session, ruling.device, ruling.incarnation) == (session.session, session.device, conflict.frame.incarnation)
        and ruling.first_sequence <= conflict.first
        and conflict.last <= ruling.last_sequence
    )
