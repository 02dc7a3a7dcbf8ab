"""The one clock of the agent: UTC seconds that never run backwards, and whether they can be trusted.

The clock runs on the monotonic counter from one anchor. The system's wall clock is followed while it agrees; a jump
of more than `MAX_JUMP_NS` is not followed but marks the clock *not synchronised*, and so every record from then on.
Only a time from outside that agrees with the wall clock (a receipt signed by the pinned service key) makes it
*synchronised*, adopting the wall clock. A time from the chain (an anchor head) bounds the clock from below: a head
from the future marks it not synchronised.

Not promised: that the service's clock is right. It is pinned, and its receipts are evidence of what it said.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

NANO = 1_000_000_000
MAX_JUMP_NS = 2 * NANO
"""NTP slews less than half a millisecond a second; more than this between two looks is somebody setting the clock."""
TRUST_WITHIN_S = 10
"""A receipt's time is whole seconds and a request can take some; records are never finer than a second."""
HEAD_AHEAD_S = 15
"""How far a block may be ahead of us: validators may stamp up to 15 s ahead on the engines we run on."""


class Clock:
    """Thread-safe. The two sources can be injected: nanoseconds of the wall clock and of a monotonic counter."""

    def __init__(self, wall_ns: Callable[[], int] = time.time_ns, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._wall_ns, self._monotonic_ns = wall_ns, monotonic_ns
        self._lock = threading.Lock()
        self._offset_ns = wall_ns() - monotonic_ns()
        self._latest_ns = 0
        self._synchronised = False

    def monotonic_ns(self) -> int:
        """For intervals and deadlines inside one process."""
        return self._monotonic_ns()

    def now_ns(self) -> int:
        """UTC nanoseconds, never less than an earlier answer."""
        with self._lock:
            self._follow()
            self._latest_ns = max(self._latest_ns, self._monotonic_ns() + self._offset_ns)
            return self._latest_ns

    def now_s(self) -> int:
        """UTC seconds, rounded down."""
        return self.now_ns() // NANO

    def at_s(self, monotonic_ns: int) -> int:
        """The UTC second of a moment of the monotonic counter."""
        with self._lock:
            return (monotonic_ns + self._offset_ns) // NANO

    @property
    def synchronised(self) -> bool:
        """Whether a time from outside agreed, and the wall clock has not jumped since."""
        with self._lock:
            self._follow()
            return self._synchronised

    def heard_trusted(self, time_s: int) -> bool:
        """A time from the pinned service, said within the last request. True if it makes or leaves the clock
        synchronised.
        """
        with self._lock:
            wall_ns = self._wall_ns()
            self._synchronised = abs(wall_ns // NANO - time_s) <= TRUST_WITHIN_S
            if self._synchronised:
                self._offset_ns = wall_ns - self._monotonic_ns()
            return self._synchronised

    def heard_block(self, time_s: int) -> None:
        """The time of a block that exists: now cannot be earlier."""
        with self._lock:
            if time_s > (self._monotonic_ns() + self._offset_ns) // NANO + HEAD_AHEAD_S:
                self._synchronised = False

    def not_before(self, time_s: int) -> None:
        """The last record of the log ended then: now cannot be earlier. Used once, at start."""
        with self._lock:
            self._latest_ns = max(self._latest_ns, time_s * NANO)

    def _follow(self) -> None:
        drift_ns = self._wall_ns() - self._monotonic_ns() - self._offset_ns
        if abs(drift_ns) <= MAX_JUMP_NS:
            self._offset_ns += drift_ns
        else:
            self._synchronised = False
