"""The seller's meter against the buyer's own: step by step, over a window, and since the session began.

Two honest meters never disagree here, and a difference beyond the stated bound is always found. The seller's register was read at some
moment of the whole second that the record is dated to, the own register is known only where it was read, and both go in steps: each of
these can explain a fixed amount of energy, once for either end of a stretch, however long it is. Class errors and line losses explain a
share of the energy. Over one record the fixed amount hides a good deal; over a window and since the start it does not, so a report that
creeps within the allowance of every step is found once it has crept by more than the allowance of one.

The bound: a seller that reports a share r of the energy too much, beyond `ppm`, is refused at the latest when the stretch compared has used
(energy that flows in `SLACK_MS` + both steps) / r. Pure; energy in milliwatt-hours.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from .own_meter import Series

PPM = 1_000_000
EARLY_MS = 250
"""How much before the second a record is dated to its register may have been read: the two clocks differ by that."""
LATE_MS = 1_750
"""How much after: the second itself, half a second of the meter's answer, and the clocks."""
SLACK_MS = 2 * (EARLY_MS + LATE_MS) + 1_000
"""Of energy that both ends of a stretch can explain, with half a second between two readings of the own meter at either."""


class Verdict(NamedTuple):
    """One comparison. `over` is how far the seller's energy is above what the own meter allows; positive: refused."""

    stretch: str  # "record", "window" or "session"
    since_s: int
    seller_milliwatt_hours: int
    own_milliwatt_hours: int
    most_milliwatt_hours: int

    @property
    def over(self) -> int:
        return self.seller_milliwatt_hours - self.most_milliwatt_hours


class _Point(NamedTuple):
    end_s: int
    seller: int
    own: int  # at least
    margin: int  # seller · PPM − own · (PPM + ppm): the lower, the more a stretch from here on can show


class Comparison:
    """Compares one session. `ppm`: class of both meters plus losses of the line between them."""

    def __init__(self, series: Series, ppm: int, window_s: int) -> None:
        self._series, self._ppm, self._window_s = series, ppm, window_s
        self._first: _Point | None = None
        self._last: _Point | None = None
        self._window: deque[_Point] = deque()  # margins rise: the front is the lowest of the window

    def ready(self, end_s: int) -> bool:
        """Whether the own meter has been read since the moment a record dated `end_s` can have been."""
        return self._series.at_most(end_s * 1_000 + LATE_MS) is not None

    @property
    def known(self) -> int | None:
        """What the own meter has counted since the first record compared."""
        last = self._series.last
        return None if last is None or self._first is None else last.milliwatt_hours - self._first.own

    def judge(self, end_s: int, seller_milliwatt_hours: int, step_milliwatt_hours: int) -> Verdict | None:
        """The worst comparison that ends with this record, which must be `ready`; None for the first one."""
        most = self._series.at_most(end_s * 1_000 + LATE_MS)
        assert most is not None, "judged before the own meter was read"
        worst: Verdict | None = None
        while self._window and self._window[0].end_s < end_s - self._window_s:
            self._window.popleft()
        stretches = (("record", self._last), ("window", self._window[0] if self._window else None), ("session", self._first))
        for name, since in stretches:
            if since is None:
                continue
            own, seller = most - since.own, seller_milliwatt_hours - since.seller
            allowed = -(-own * (PPM + self._ppm) // PPM) + step_milliwatt_hours + self._series.step_milliwatt_hours
            verdict = Verdict(name, since.end_s, seller, own, allowed)
            worst = verdict if worst is None or verdict.over > worst.over else worst
        self.note(end_s, seller_milliwatt_hours)
        return worst

    def note(self, end_s: int, seller_milliwatt_hours: int) -> None:
        """A record from which stretches may begin, judged or (after a restart) judged before."""
        own = self._series.at_least(end_s * 1_000 - EARLY_MS)
        if own is None:
            return  # before the own meter's first reading: compared from the next on
        point = _Point(end_s, seller_milliwatt_hours, own, seller_milliwatt_hours * PPM - own * (PPM + self._ppm))
        self._first, self._last = self._first or point, point
        while self._window and self._window[-1].margin >= point.margin:
            self._window.pop()
        self._window.append(point)
