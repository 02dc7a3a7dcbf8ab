"""The one clock of the agent: UTC seconds that never run backwards, and whether they can be trusted.

The clock runs on the monotonic counter from one anchor. The system's wall clock is followed while it agrees; a jump
of more than `MAX_JUMP_NS` is not followed but marks the clock *not synchronised*, and so every record from then on.
Only a time from outside that agrees with the wall clock (a receipt signed by the pinned service key) makes it
*synchronised*, adopting the wall clock. Where none has agreed since the start, one that says we are ahead is taken
over too, but flagged: what is dated too late cannot be taken back. A time from the chain (an anchor head) bounds the
clock from below: a head from the future marks it not synchronised.

There are two answers to "what time is it". `utc_s` is the best estimate and may step; it is for what others date: who
calls, when a grant or a command ends. `now_s` dates what this agent writes and never runs backwards: when the
estimate falls behind what was written already, the difference (the *lead*) is worn off at half speed, so records
still rise; while a session is metered (`steady`) the lead is kept, so that no metered second is longer or shorter
than a second. As long as there is a lead worth the name the clock is not synchronised.

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
AHEAD_S = 30
"""A receipt can be as old as the longest request; being ahead of it by more is an error of ours."""
HEAD_AHEAD_S = 15
"""How far a block may be ahead of us: validators may stamp up to 15 s ahead on the engines we run on."""
CATCH_UP = 2
"""A lead is worn off by every second nanosecond: records rise half as fast as time until they agree with it."""


class Clock:
    """Thread-safe. The two sources can be injected: nanoseconds of the wall clock and of a monotonic counter."""

    def __init__(self, wall_ns: Callable[[], int] = time.time_ns, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._wall_ns, self._monotonic_ns = wall_ns, monotonic_ns
        self._lock = threading.Lock()
        self._lead_ns, self._lead_at_ns = 0, monotonic_ns()
        self._offset_ns = wall_ns() - self._lead_at_ns
        self._steady = False
        self._synchronised = False
        self._agreed = False  # once synchronised, the counter is a better witness than whoever disagrees

    def monotonic_ns(self) -> int:
        """For intervals and deadlines inside one process."""
        return self._monotonic_ns()

    def now_ns(self) -> int:
        """UTC nanoseconds as this agent dates what it writes, never less than an earlier answer."""
        with self._lock:
            return self._follow() + self._offset_ns + self._lead_ns

    def now_s(self) -> int:
        """`now_ns` in seconds, rounded down."""
        return self.now_ns() // NANO

    def at_s(self, monotonic_ns: int) -> int:
        """What `now_s` says of a moment of the monotonic counter."""
        with self._lock:
            self._follow()
            return (monotonic_ns + self._offset_ns + self._lead_ns) // NANO

    def utc_ns(self) -> int:
        """The best estimate of UTC, in nanoseconds. It may step, also backwards."""
        with self._lock:
            return self._follow() + self._offset_ns

    def utc_s(self) -> int:
        """`utc_ns` in seconds, rounded down."""
        return self.utc_ns() // NANO

    def steady(self, steady: bool) -> None:
        """While True, `now_s` passes exactly as time does: a lead is kept, not worn off."""
        with self._lock:
            self._follow()
            self._steady = steady

    @property
    def synchronised(self) -> bool:
        """Whether a time from outside agreed, the wall clock has not jumped since, and what is written is dated by it."""
        with self._lock:
            self._follow()
            return self._synchronised and self._lead_ns <= MAX_JUMP_NS

    def heard_trusted(self, time_s: int) -> bool:
        """A time from the pinned service, said within the last request. True if it agrees with the wall clock."""
        with self._lock:
            now_ns = self._follow()
            wall_ns = self._wall_ns()
            self._synchronised = abs(wall_ns // NANO - time_s) <= TRUST_WITHIN_S
            if self._synchronised:
                self._agreed = True
                self._step(wall_ns - now_ns)
            elif not self._agreed and (now_ns + self._offset_ns) // NANO > time_s + AHEAD_S:
                self._step(time_s * NANO - now_ns)
            return self._synchronised

    def heard_block(self, time_s: int) -> None:
        """The time of a block that exists: now cannot be earlier."""
        with self._lock:
            if time_s > (self._follow() + self._offset_ns) // NANO + HEAD_AHEAD_S:
                self._synchronised = False

    def not_before(self, time_s: int) -> None:
        """The last record of the log ended then: what is written from now on is not dated earlier. Used once, at start."""
        with self._lock:
            self._lead_ns = max(self._lead_ns, time_s * NANO - self._follow() - self._offset_ns)

    def _follow(self) -> int:
        """Follow the wall clock, wear off the lead; the monotonic moment both then hold for."""
        now_ns = self._monotonic_ns()
        if not self._steady:
            self._lead_ns = max(0, self._lead_ns - (now_ns - self._lead_at_ns) // CATCH_UP)
        self._lead_at_ns = now_ns
        drift_ns = self._wall_ns() - now_ns - self._offset_ns
        if abs(drift_ns) <= MAX_JUMP_NS:
            self._step(self._offset_ns + drift_ns)
        else:
            self._synchronised = False
        return now_ns

    def _step(self, offset_ns: int) -> None:
        """Another estimate: what is written does not step back with it."""
        self._lead_ns = max(0, self._lead_ns + self._offset_ns - offset_ns)
        self._offset_ns = offset_ns
