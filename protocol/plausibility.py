"""How much a register can honestly have risen between two records: one rule for agent, service, auditor and buyer.

It tells a broken register from a working one, and a buyer what it need not pay for. A metered charge is bounded by the escrow, which knows
neither overload nor jitter (`money.deliverable_milliwatt_hours`).
"""

from __future__ import annotations

OVERLOAD_PERCENT = 145
"""A circuit breaker may carry 1.45 times its rating for an hour before it trips (IEC 60898-1, conventional tripping current)."""
JITTER_S = 3
"""Records are dated to whole seconds, and a readout takes up to a second and a half at either end."""
STEPS = 2
"""Each of two readings may be off by one step of the register."""


def most_milliwatt_hours(rated_watts: int, seconds: int, step_milliwatt_hours: int) -> int:
    """The most energy a register can have counted between two readings dated `seconds` apart, in milliwatt-hours."""
    return rated_watts * (seconds + JITTER_S) * 10 * OVERLOAD_PERCENT // 3_600 + STEPS * step_milliwatt_hours
