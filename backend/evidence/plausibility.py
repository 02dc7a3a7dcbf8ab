"""Plausibility before money: can this register follow the last good one?

A register that rises by more than rating × time, or falls, is quarantined: shown, explained, never billed. A fall that equals a rollover
and fits rating × time is accepted. A register that *goes on* from a value it jumped up to stays quarantined, however much time passes:
otherwise waiting would turn any jump into a plausible one. After a fall (zero for one reading) the first reading that fits the last good
one ends the quarantine: it can only bill what lies above the last good register.
"""

from __future__ import annotations

from typing import NamedTuple

from protocol.evidence import Flag, Record
from protocol.plausibility import most_milliwatt_hours

MAX_AHEAD_S = 300
"""How far a record's end may lie ahead of this machine's clock: agents keep time by NTP; beyond this one of the two is wrong."""


class Known(NamedTuple):
    """The last reading and the last good one of a point. Registers in mWh, times in UTC seconds."""

    end_s: int
    import_milliwatt_hours: int
    good_end_s: int
    good_import_milliwatt_hours: int
    quarantined: bool


class Judgement(NamedTuple):
    """`problem` empty: plausible. `rollover`: the register passed its end."""

    problem: str
    rollover: bool


def judge(record: Record, known: Known | None, rated_watts: int, modulus_milliwatt_hours: int, now_s: int) -> Judgement:
    """Whether a record's import register is plausible after what is known of the point."""
    if record.end_s < record.start_s:
        return Judgement("it ends before it starts", False)
    if record.end_s > now_s + MAX_AHEAD_S and not record.flags & Flag.CLOCK_NOT_SYNCHRONISED:
        return Judgement(f"it ends {record.end_s - now_s} s ahead of the service's clock and is not flagged", False)
    if record.import_milliwatt_hours >= modulus_milliwatt_hours:
        return Judgement(f"its register shows more than the meter can ({modulus_milliwatt_hours} mWh)", False)
    if known is None:
        return Judgement("", False)
    problem, rollover = _follows(record, known.good_import_milliwatt_hours, known.good_end_s, rated_watts, modulus_milliwatt_hours)
    if problem or not known.quarantined or known.import_milliwatt_hours < known.good_import_milliwatt_hours:
        return Judgement(problem, rollover)
    continues, _ = _follows(record, known.import_milliwatt_hours, known.end_s, rated_watts, modulus_milliwatt_hours)
    if not continues:
        return Judgement("its register goes on from where it jumped to", False)
    return Judgement("", rollover)


def _follows(record: Record, register: int, at_s: int, rated_watts: int, modulus: int) -> tuple[str, bool]:
    seconds = max(0, record.end_s - at_s)
    most = most_milliwatt_hours(rated_watts, seconds, record.step_milliwatt_hours)
    rise = record.import_milliwatt_hours - register
    if rise >= 0:
        if rise <= most:
            return "", False
        return f"its register rose by {rise} mWh in {seconds} s; {rated_watts} W can deliver {most}", False
    if 0 <= rise + modulus <= most:
        return "", True
    return f"its register fell by {-rise} mWh, which is no rollover", False
