"""The buyer's own meter: a thread that reads its register over and over, and what that proves about an instant.

A `Series` answers with bounds, because a register is known only where it was read: at an instant it stood at least where the last reading
before it stood, and at most where the first reading after it does. So a gap in the readings (a restart, a silent line) makes the bounds
wider and never wrong.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import NamedTuple

import structlog

from meter_agent.line import LineError, Meter, open_meter

SAMPLE_S = 0.5
"""Between two readings: finer than the whole seconds that records are dated to."""
REOPEN_S = 2.0
KEPT = 16_384
"""Readings kept: two hours of them, more than any frame is late in live operation."""

logger = structlog.get_logger("wattproof.buyer.own_meter")


class Own(NamedTuple):
    """One reading: UTC milliseconds between which the meter gave it, import register and its step in milliwatt-hours."""

    began_ms: int
    ended_ms: int
    milliwatt_hours: int
    step_milliwatt_hours: int


class Series:
    """Readings of one meter in order of time. Thread-safe for one writer and one reader."""

    def __init__(self) -> None:
        self._began: list[int] = []
        self._ended: list[int] = []
        self._register: list[int] = []
        self.step_milliwatt_hours = 0
        self.fell = ""
        """What was wrong with a register that fell; empty while none did. Then nothing can be compared any more."""

    def add(self, own: Own) -> None:
        if self._began and (own.began_ms <= self._began[-1] or own.ended_ms <= self._ended[-1]):
            return  # the clock was set back: what is known stays
        if self._register and own.milliwatt_hours < self._register[-1]:
            self.fell = f"the own meter's register fell from {self._register[-1]} to {own.milliwatt_hours} mWh"
            return
        self.step_milliwatt_hours = own.step_milliwatt_hours
        for kept, value in ((self._register, own.milliwatt_hours), (self._began, own.began_ms), (self._ended, own.ended_ms)):
            kept.append(value)
            if len(kept) > KEPT:
                del kept[: KEPT // 4]

    @property
    def last(self) -> Own | None:
        return Own(self._began[-1], self._ended[-1], self._register[-1], self.step_milliwatt_hours) if self._began else None

    def readings(self) -> list[Own]:
        """All that are kept."""
        return [Own(*values, self.step_milliwatt_hours) for values in zip(self._began, self._ended, self._register, strict=True)]

    def at_least(self, at_ms: int) -> int | None:
        """What the register stood at or above then; None before the first reading."""
        i = bisect_right(self._ended, at_ms)
        return self._register[i - 1] if i else None

    def at_most(self, at_ms: int) -> int | None:
        """What the register stood at or below then (but for a step); None after the last reading."""
        i = bisect_left(self._began, at_ms)
        return self._register[i] if i < len(self._began) else None


class OwnMeter(threading.Thread):
    """Reads the meter at `url` into `found` until stopped; a silent line is said once and tried again for ever."""

    def __init__(self, url: str, initial_baud: int, found: Callable[[Own], None]) -> None:
        super().__init__(name="own-meter", daemon=True)
        self._url, self._baud, self._found = url, initial_baud, found
        self._over = threading.Event()

    def stop(self) -> None:
        self._over.set()
        self.join(5.0)

    def run(self) -> None:
        while not self._over.is_set():
            meter = open_meter(self._url, initial_baud=self._baud)
            try:
                self._read(meter)
            except LineError as error:
                logger.warning("own meter does not answer", reason=str(error))
                self._over.wait(REOPEN_S)
            finally:
                meter.close()

    def _read(self, meter: Meter) -> None:
        step = meter.read().step_milliwatt_hours
        while not self._over.is_set():
            began = time.monotonic()
            reading = meter.read_registers()
            step = reading.step_milliwatt_hours or step
            utc_ns = time.time_ns() - time.monotonic_ns()
            began_ms, ended_ms = ((utc_ns + moment) // 1_000_000 for moment in (reading.started_ns, reading.finished_ns))
            self._found(Own(began_ms, ended_ms, reading.import_milliwatt_hours, step))
            self._over.wait(max(0.0, SAMPLE_S - (time.monotonic() - began)))
