"""Bands against the wall clock, read minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.calendar import DAY_MINUTES, MAX_TIME_S, Calendar, Hours, zone
from protocol.errors import Malformed, PricingError

ODD_ZONES = (
    "Europe/Berlin", "Europe/Dublin", "America/New_York", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu",
    "Pacific/Apia", "Africa/Casablanca", "Antarctica/Troll", "Pacific/Chatham", "UTC",
)  # fmt: skip
minutes = st.integers(0, DAY_MINUTES - 1)
hours = st.builds(
    Hours, minutes, minutes, st.frozensets(st.integers(0, 6), min_size=1), st.integers(734_000, 736_000), st.integers(736_001, 740_000)
) | st.builds(Hours, minutes, st.just(DAY_MINUTES))  # fmt: skip


@given(st.sampled_from(ODD_ZONES), st.lists(hours, min_size=1, max_size=3), st.integers(0, 20_000), st.data())
def test_bands_are_what_the_clock_on_the_wall_reads(name: str, several: list[Hours], day: int, data: st.DataObject) -> None:
    calendar, wall = Calendar(name, tuple(several)), zone(name)
    for _ in range(20):
        at = day * 86_400 + data.draw(st.integers(0, 86_399))
        local = datetime.fromtimestamp(at, wall)
        expected = {i for i, h in enumerate(several) if h.hold(local.toordinal(), local.hour * 60 + local.minute)}
        band = calendar.band(at)
        assert band.from_s <= at < band.to_s
        assert band.holding == expected


@pytest.mark.parametrize("name", ODD_ZONES)
def test_bands_leave_no_second_out_and_change_only_at_their_edges(name: str) -> None:
    calendar = Calendar(name, (Hours(120, 180), Hours(1320, 360), Hours(weekdays=frozenset((5, 6)))))
    at = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
    end = at + 366 * 86_400
    while at < end:
        band = calendar.band(at)
        assert band.from_s == at < band.to_s
        assert calendar.band(band.to_s - 1) == band
        at = band.to_s


@pytest.mark.parametrize(
    ("day", "hours_of_day", "hours_in_band"),
    [("2026-03-28", 24, 1), ("2026-03-29", 23, 0), ("2026-10-24", 24, 1), ("2026-10-25", 25, 2)],
)
def test_days_of_23_and_25_hours(day: str, hours_of_day: int, hours_in_band: int) -> None:
    wall, calendar = ZoneInfo("Europe/Berlin"), Calendar("Europe/Berlin", (Hours(120, 180),))
    midnight = datetime.fromisoformat(day).replace(tzinfo=wall)
    start, end = int(midnight.timestamp()), int((midnight + timedelta(days=1)).timestamp())
    assert end - start == hours_of_day * 3600
    in_band, at = 0, start
    while at < end:
        band = calendar.band(at)
        in_band += (min(band.to_s, end) - at) if band.holding else 0
        at = band.to_s
    assert in_band == hours_in_band * 3600


def test_changes_are_where_something_else_begins_to_hold() -> None:
    calendar = Calendar("Europe/Berlin", (Hours(480, 1200),))
    start = int(datetime(2026, 10, 24, 0, tzinfo=UTC).timestamp())
    hours_after = [(t - start) / 3600 for t in calendar.changes(start, start + 2 * 86_400)]
    assert hours_after == [6, 18, 24 + 7, 24 + 19]  # the clock goes back in between
    assert Calendar("Europe/Berlin", (Hours(),)).changes(start, start + 10**7) == []


@pytest.mark.parametrize(
    "name", ["Europe/Atlantis", "../../etc/passwd", "", "europe/berlin", "Europe/Berlin/", "zones", "tzdata", "\0", "A" * 500]
)
def test_an_unknown_zone_is_malformed(name: str) -> None:
    with pytest.raises(Malformed, match="timeZone"):
        zone(name)


@pytest.mark.parametrize("at", [-1, MAX_TIME_S, 2**53 - 1])
def test_outside_the_calendar_is_refused(at: int) -> None:
    with pytest.raises(PricingError, match="outside the calendar"):
        Calendar("UTC", (Hours(60, 120),)).band(at)
    assert Calendar("UTC", (Hours(60, 120),)).band(MAX_TIME_S - 1)
    assert Calendar("Pacific/Apia", (Hours(60, 120),)).band(MAX_TIME_S - 1)
    assert Calendar("Pacific/Apia", (Hours(60, 120),)).band(0)
