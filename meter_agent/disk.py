"""Room on the disk: noticing that it gets short, and a reserve for what must still be written when it is gone.

Below `low_disk_bytes` records come at longer intervals and say LOW_DISK. When nothing fits any more the reserve is
given up, so that the closing record and the state can be written, and the point follows its policy for lost
communication: unsent records are never dropped.
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from onsite.errors import DiskFull

from .clock import NANO, Clock

RESERVE_BYTES = 512 << 10
"""A closing record, its state and a thousand more records fit."""
LOOK_EVERY_NS = 30 * NANO

logger = structlog.get_logger("wattproof.agent.disk")


class Disk:
    """Watches the file system of the state folder."""

    def __init__(self, directory: Path, low_bytes: int, clock: Clock) -> None:
        self._directory, self._low_bytes, self._clock = directory, low_bytes, clock
        self._reserve = directory / "reserve"
        self._looked_ns = -LOOK_EVERY_NS
        self.low = False
        self.full_since_s: int | None = None

    def look(self) -> None:
        """From time to time: whether room is short, and put the reserve (back) in place where there is enough."""
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._looked_ns < LOOK_EVERY_NS:
            return
        self._looked_ns = now_ns
        found = os.statvfs(self._directory)
        free = found.f_bavail * found.f_frsize
        low = free < self._low_bytes
        if low != self.low:
            logger.warning("the disk is nearly full" if low else "the disk has room again", free_bytes=free)
        self.low = low
        if not low or (self.full_since_s is None and free > 2 * RESERVE_BYTES):
            self._keep_reserve()

    def full(self, error: DiskFull) -> None:
        """Nothing could be written: give up the reserve."""
        self.low = True
        if self.full_since_s is None:
            self.full_since_s = self._clock.now_s()
            logger.error("the disk is full; unsent records stay, new ones come rarely, then supply ends", reason=str(error))
        self._reserve.unlink(missing_ok=True)

    def _keep_reserve(self) -> None:
        if self._reserve.exists():
            self.full_since_s = None
            return
        try:
            handle = os.open(self._reserve, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(handle, 0, RESERVE_BYTES)
            finally:
                os.close(handle)
            self.full_since_s = None
        except OSError:
            self._reserve.unlink(missing_ok=True)
