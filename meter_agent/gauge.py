"""Energy between records: register steps where they show, the integral of sampled power in between. Pure.

`energy_milliwatt_hours` is never below what the register has counted since the last good record and never a whole step
above it, so it is the closest estimate of what has flowed. `sampled_milliwatt_hours` is the plain integral since the
last *good* record, for judging a suspect register, and None where sampling had gaps.
"""

from __future__ import annotations

from protocol.plausibility import most_milliwatt_hours

from .credit import MILLIWATT_NANOSECONDS_PER_MILLIWATT_HOUR, NANO

MAX_GAP_NS = 10 * NANO
"""Samples come each second; beyond this what flowed between two is a guess."""


class Gauge:
    """Follows one meter. All moments are monotonic nanoseconds."""

    def __init__(self, rated_watts: int) -> None:
        self._rated_watts = rated_watts
        self.power_milliwatts = 0
        self.at_ns = 0
        self._base = 0  # the register at the last good record
        self._register = 0  # the register last seen
        self._step = 1
        self._modulus = 0
        self._integral = 0  # milliwatt-nanoseconds since the last good record, kept beside the register
        self._good_integral = 0  # … and left alone
        self._whole = False

    @property
    def energy_milliwatt_hours(self) -> int:
        """Energy since the last good record, at `at_ns`."""
        counted = self._register - self._base
        flowed = self._integral // MILLIWATT_NANOSECONDS_PER_MILLIWATT_HOUR
        return min(max(flowed, counted), counted + self._step - 1)

    @property
    def sampled_milliwatt_hours(self) -> int | None:
        """Integral of the samples since the last good record."""
        return self._good_integral // MILLIWATT_NANOSECONDS_PER_MILLIWATT_HOUR if self._whole else None

    def recorded(self, register: int, step: int, modulus: int, power_milliwatts: int, at_ns: int, *, good: bool) -> None:
        """A record was made from this reading."""
        self.sampled(power_milliwatts, None, at_ns)
        self._step, self._modulus = max(1, step), modulus
        if good:
            self._base = self._register = register
            self._integral = 0
            self._good_integral, self._whole = 0, True

    def sampled(self, power_milliwatts: int, register: int | None, at_ns: int) -> None:
        """A sample, with the import register where it was asked for."""
        if self.at_ns:
            gap = max(0, at_ns - self.at_ns)
            mean = (max(0, self.power_milliwatts) + max(0, power_milliwatts)) // 2
            self._integral += mean * gap
            self._good_integral += mean * gap
            self._whole = self._whole and gap <= MAX_GAP_NS
        if register is not None:
            self._believe(register, at_ns)
        self.power_milliwatts, self.at_ns = power_milliwatts, max(self.at_ns, at_ns)

    def _believe(self, register: int, at_ns: int) -> None:
        """Take a register over unless it is a glitch: records judge and show those."""
        rise = register - self._register % self._modulus if self._modulus else register - self._register
        if rise < 0:
            rise += self._modulus
        seconds = max(0, at_ns - self.at_ns) // NANO + 1
        if 0 <= rise <= most_milliwatt_hours(self._rated_watts, seconds, self._step):
            self._register += rise
            # The register has just counted on: what the integral says beyond it or short of it was error.
            if rise:
                counted = (self._register - self._base) * MILLIWATT_NANOSECONDS_PER_MILLIWATT_HOUR
                most = counted + (self._step - 1) * MILLIWATT_NANOSECONDS_PER_MILLIWATT_HOUR
                self._integral = min(max(self._integral, counted), most)
