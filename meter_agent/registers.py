"""Whether a register can be believed: plausibility before money. Pure.

A register that rises more than the connection can deliver in the time, or falls without a rollover that fits, is
*quarantined*: it is recorded as read, flagged and never billed; the last good register stays the reference. It is
believed again only when what it shows fits the energy that was *sampled* meanwhile: the mere passing of time must not
make a jump look plausible. A register that jumped for good needs a hand-over (another placement in agent.toml), which
the operator approves.
"""

from __future__ import annotations

from typing import NamedTuple

from protocol.evidence import Flag
from protocol.plausibility import most_milliwatt_hours

from .journal import Good

SAMPLED_PERCENT = 150
"""What second-long samples may miss of a load that switches faster than they come."""


class Reading(NamedTuple):
    """What is judged: registers in milliwatt-hours at `at_s`."""

    serial: str
    placement: str
    import_milliwatt_hours: int
    export_milliwatt_hours: int
    at_s: int
    step_milliwatt_hours: int
    modulus_milliwatt_hours: int


class Verdict(NamedTuple):
    """`flags` to add to the record; `good` is the reference from now on; `detail` explains a quarantine."""

    flags: Flag
    good: Good
    detail: str


def judge(reading: Reading, good: Good | None, rated_watts: int, sampled_milliwatt_hours: int | None, suspect: bool) -> Verdict:
    """Judge a reading of the meter that is in place.

    `sampled_milliwatt_hours` is the integral of the power samples since `good`, None where sampling had gaps;
    `suspect` says that the reading before this one was quarantined.
    """
    accepted = Good(**reading._asdict())
    if good is None or (good.serial, good.placement) != (reading.serial, reading.placement):
        return Verdict(Flag(0), accepted, "")
    limit = most_milliwatt_hours(rated_watts, max(0, reading.at_s - good.at_s), reading.step_milliwatt_hours)
    if suspect and sampled_milliwatt_hours is not None:
        sampled = sampled_milliwatt_hours * SAMPLED_PERCENT // 100 + most_milliwatt_hours(rated_watts, 0, reading.step_milliwatt_hours)
        limit = min(limit, sampled)
    rise = reading.import_milliwatt_hours - good.import_milliwatt_hours
    if 0 <= rise <= limit:
        return Verdict(Flag(0), accepted, "")
    modulus = reading.modulus_milliwatt_hours
    if rise < 0 and 0 <= rise + modulus <= limit and modulus == good.modulus_milliwatt_hours:
        return Verdict(Flag.ROLLOVER, accepted, "")
    change = f"rose by {rise} mWh where {limit} mWh were possible" if rise > 0 else f"fell by {-rise} mWh"
    seconds = reading.at_s - good.at_s
    return Verdict(Flag.QUARANTINED_REGISTER, good, f"the import register {change} in {seconds} s; not billed until it is explained")
