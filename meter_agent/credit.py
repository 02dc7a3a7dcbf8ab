"""When the money ends: exact price now, and the moment at which use will reach a limit if power stays as it is. Pure.

Between records the register is known from samples, and between its steps from the integral of power, bounded by one
step: so the estimate is never behind what the meter would bill, nor more than a step ahead. Prices come from the one
`Pricer`, on a copy that has taken a record not yet cut.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

from protocol.errors import PricingError
from protocol.evidence import Record
from protocol.pricing import Pricer
from protocol.tariff import ceilings

NANO = 1_000_000_000
MILLIWATT_NANOSECONDS_PER_MILLIWATT_HOUR = 3_600 * NANO


class Course(NamedTuple):
    """Energy used since the last good register, at a moment, and the power from then on."""

    at_ns: int  # monotonic
    milliwatt_hours: int
    power_milliwatts: int

    def after(self, monotonic_ns: int) -> int:
        """Energy since then at a later moment, if power stays; power fed back counts as none."""
        flowed = max(0, self.power_milliwatts) * max(0, monotonic_ns - self.at_ns)
        return self.milliwatt_hours + flowed // MILLIWATT_NANOSECONDS_PER_MILLIWATT_HOUR


class Forecast:
    """Prices the live session ahead of its `last` record; `register` is its last good one, from which the course
    counts.

    UTC = monotonic + `utc_offset_ns`.
    """

    def __init__(self, pricer: Pricer, last: Record, register: int, course: Course, utc_offset_ns: int) -> None:
        self._pricer, self._last, self._register, self.course = pricer, last, register, course
        self._utc_offset_ns = utc_offset_ns

    def total_micro(self, monotonic_ns: int) -> int:
        """What the session will cost at that moment, tax included."""
        end_s = max(self._last.end_s, (monotonic_ns + self._utc_offset_ns) // NANO)
        energy = self.course.after(monotonic_ns)
        if end_s == self._last.end_s and not energy:
            return self._pricer.total_micro
        last = self._last
        record = last._replace(
            sequence=last.sequence + 1, start_s=last.end_s, end_s=end_s, reason=2, flags=0,
            import_milliwatt_hours=self._register + energy, power_milliwatts=self.course.power_milliwatts,
        )  # fmt: skip
        pricer = copy.deepcopy(self._pricer, {id(self._pricer.tariff): self._pricer.tariff})
        try:
            pricer.add(record)
        except PricingError:  # a zone's bands ran out, say: then the ceilings bound it
            per_kwh, per_hour, _ = ceilings(self._pricer.tariff)
            return self._pricer.total_micro - (-per_kwh * energy // 1_000_000) - (-per_hour * (end_s - last.end_s) // 3_600)
        return pricer.total_micro

    def energy_milliwatt_hours(self, monotonic_ns: int) -> int:
        """Energy of the session at that moment."""
        return self._pricer.energy_milliwatt_hours + self.course.after(monotonic_ns)

    def last_before(self, passed: Callable[[int], bool], from_ns: int, until_ns: int) -> int | None:
        """The last moment in [from, until] at which `passed` is not true yet, to a millisecond; `from` if it is true
        already.

        None if it is not true even at `until`. `passed` must stay true once it is: cost and energy never fall.
        """
        if passed(from_ns):
            return from_ns
        if not passed(until_ns):
            return None
        below, at = from_ns, until_ns
        while at - below > 1_000_000:
            middle = (below + at) // 2
            if passed(middle):
                at = middle
            else:
                below = middle
        return below
