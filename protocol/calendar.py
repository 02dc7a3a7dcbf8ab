"""Local clock and calendar as half-open intervals of UTC: days of 23 and 25 hours included.

`Hours` says when something holds by what a clock on the wall of a zone reads. It holds at an instant exactly when the wall clock reads
so at that instant: 02:00–03:00 lasts no time on the day the clock skips that hour and two hours on the day it is read twice.
`Calendar` expands a list of `Hours` into `Band`s, a UTC day at a time, and keeps them.

The zone rules are those of the pinned `tzdata` package, never the machine's own, so that agent, service and auditor on one release of
this project expand the same bands (docs/decisions/pricing.md).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from .errors import Malformed, PricingError

DAY_S = 86_400
HOUR_S = 3_600
DAY_MINUTES = 1_440
EPOCH_ORDINAL = datetime(1970, 1, 1, tzinfo=UTC).toordinal()
LAST_ORDINAL = datetime(9999, 1, 1, tzinfo=UTC).toordinal()
MAX_TIME_S = (LAST_ORDINAL - EPOCH_ORDINAL) * DAY_S
"""Python's calendar ends with the year 9999; one year less leaves room for every offset."""
MAX_KEPT_DAYS = 400
"""Days of bands kept: more than any session lasts, and a bound on the memory a long-lived process gives to one tariff."""

_ZONE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    return frozenset(resources.files("tzdata").joinpath("zones").read_text("utf-8").split())


@lru_cache(maxsize=64)
def zone(name: str) -> ZoneInfo:
    """The IANA zone `name` from the pinned tzdata. Raises `Malformed` if there is none."""
    if not _ZONE_NAME.fullmatch(name) or name not in _zone_names():
        raise Malformed(f"{name!r} is not a zone of the IANA time zone database; write e.g. 'Europe/Berlin'", "timeZone")
    with resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


class Hours(NamedTuple):
    """When something holds, by the wall clock of a zone. The default holds always.

    `from_minute` ≤ minute of the day < `to_minute`; a `to_minute` not above `from_minute` wraps round midnight. `weekdays`: 0 is Monday.
    `from_day` ≤ day < `to_day`, as proleptic ordinals. Each is judged by what the clock reads at the instant: after midnight a
    wrapped range is in the new day.
    """

    from_minute: int = 0
    to_minute: int = DAY_MINUTES
    weekdays: frozenset[int] = frozenset(range(7))
    from_day: int = 0
    to_day: int = LAST_ORDINAL + 366

    def hold(self, day: int, minute: int) -> bool:
        """Whether they hold when the clock reads `minute` of the local day with ordinal `day`."""
        if not self.from_day <= day < self.to_day or (day + 6) % 7 not in self.weekdays:
            return False
        if self.from_minute < self.to_minute:
            return self.from_minute <= minute < self.to_minute
        return minute >= self.from_minute or minute < self.to_minute


ALWAYS = Hours()


class Band(NamedTuple):
    """A half-open stretch of UTC [from_s, to_s) in which the same ones of a calendar's `Hours` hold."""

    from_s: int
    to_s: int
    holding: frozenset[int]


class Calendar:
    """The bands of several `Hours` in one zone. Equal inputs and equal tzdata give equal bands."""

    def __init__(self, zone_name: str, hours: tuple[Hours, ...]) -> None:
        self._zone = zone(zone_name)
        self._hours = hours
        self._minutes = sorted({0} | {m % DAY_MINUTES for each in hours for m in (each.from_minute, each.to_minute)})
        self._whole = Band(0, MAX_TIME_S, frozenset(range(len(hours)))) if all(h == ALWAYS for h in hours) else None
        self._days: dict[int, list[Band]] = {}

    def band(self, time_s: int) -> Band:
        """The band that `time_s` lies in; bands also end at UTC midnight. Raises `PricingError` outside the calendar."""
        if not 0 <= time_s < MAX_TIME_S:
            raise PricingError(f"{time_s} s is outside the calendar (1970…9998)", "time")
        if self._whole is not None:
            return self._whole
        day = time_s // DAY_S
        bands = self._days.get(day)
        if bands is None:
            if len(self._days) >= MAX_KEPT_DAYS:
                self._days.clear()
            bands = self._days[day] = self._expand(day * DAY_S)
        return next(band for band in bands if time_s < band.to_s)

    def changes(self, start_s: int, end_s: int) -> list[int]:
        """The instants in (start_s, end_s) at which other `Hours` begin to hold, in order."""
        instants = []
        band = self.band(start_s)
        while band.to_s < end_s:
            following = self.band(band.to_s)
            if following.holding != band.holding:
                instants.append(following.from_s)
            band = following
        return instants

    def _offset(self, time_s: int) -> int:
        offset = datetime.fromtimestamp(time_s, self._zone).utcoffset()
        assert offset is not None
        return offset.days * DAY_S + offset.seconds

    def _segments(self, start_s: int, end_s: int) -> list[tuple[int, int, int]]:
        """(from, to, offset) of constant UTC offset. Looks once an hour: no zone changes its offset twice within one."""
        segments = []
        begun, offset = start_s, self._offset(start_s)
        for hour in range(start_s + HOUR_S, end_s + 1, HOUR_S):
            if self._offset(hour) == offset:
                continue
            before, after = hour - HOUR_S, hour
            while after - before > 1:
                middle = (before + after) // 2
                before, after = (middle, after) if self._offset(middle) == offset else (before, middle)
            segments.append((begun, after, offset))
            begun, offset = after, self._offset(after)
        if begun < end_s:
            segments.append((begun, end_s, offset))
        return segments

    def _expand(self, start_s: int) -> list[Band]:
        bands = []
        for begun, ended, offset in self._segments(start_s, start_s + DAY_S):
            first_day, last_day = (begun + offset) // DAY_S, (ended + offset) // DAY_S
            instants = {day * DAY_S + m * 60 - offset for day in range(first_day, last_day + 1) for m in self._minutes}
            edges = [begun, *sorted(t for t in instants if begun < t < ended), ended]
            for from_s, to_s in pairwise(edges):
                day, second = divmod(from_s + offset, DAY_S)
                holding = frozenset(i for i, h in enumerate(self._hours) if h.hold(day + EPOCH_ORDINAL, second // 60))
                bands.append(Band(from_s, to_s, holding))
        return bands
