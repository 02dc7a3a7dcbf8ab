"""Registers from record to record: nothing falls unexplained, and nothing rises faster than the connection can deliver."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.bundle import SessionFacts, Signed
from protocol.evidence import Flag, HandOver, Record, Ruling
from protocol.plausibility import most_milliwatt_hours

from .report import Problem

_QUARANTINED, _ROLLOVER = int(Flag.QUARANTINED_REGISTER), int(Flag.ROLLOVER)  # an enum's & costs a microsecond a record


def register_problems(
    session: SessionFacts, records: Sequence[Record], hand_overs: Sequence[Signed[HandOver]], ruled: Sequence[Ruling] = ()
) -> list[Problem]:
    """Falls that nothing explains, meters that change without a hand-over, and more energy than the rating allows for the time.

    `ruled`: rulings that accept what the log holds; the parties may believe a jump, and nothing makes a fall into energy.
    """
    problems: list[Problem] = []
    swaps = {signed.value.sequence: signed.value for signed in hand_overs}
    before: Record | None = None
    for record in records:
        if record.channel != session.channel or record.flags & _QUARANTINED:
            continue
        if before is not None:
            name = f"record {record.sequence}"
            swap = swaps.get(before.sequence)
            start = before.import_milliwatt_hours
            if record.meter_hash != before.meter_hash:
                if swap is None or (swap.old_meter_hash, swap.new_meter_hash) != (before.meter_hash, record.meter_hash):
                    problems.append(Problem("registers", name, "is of another meter, without a hand-over that names both"))
                    before = record
                    continue
                start = swap.new_import_milliwatt_hours
            energy = record.import_milliwatt_hours - start
            if energy < 0 and record.flags & _ROLLOVER and session.register_modulus_milliwatt_hours:
                energy += session.register_modulus_milliwatt_hours
            if energy < 0:
                problems.append(Problem("registers", name, f"the import register fell by {-energy} mWh with nothing to explain it"))
            elif record.end_s < before.end_s:
                problems.append(Problem("registers", name, f"ends at {record.end_s} s, before the record before it ({before.end_s} s)"))
            else:
                step = max(record.step_milliwatt_hours, before.step_milliwatt_hours)
                most = most_milliwatt_hours(session.rated_watts, record.end_s - before.end_s, step)
                believed = any(r.first_sequence <= record.sequence <= r.last_sequence for r in ruled)
                if energy > most and not believed:
                    what = f"{energy} mWh in {record.end_s - before.end_s} s, {session.rated_watts} W deliver {most} mWh at most"
                    problems.append(Problem("registers", name, what))
        before = record
    return problems
