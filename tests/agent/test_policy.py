"""Policies: parsed strictly, protected hours as tariffs mean local time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from meter_agent.errors import Refused
from meter_agent.policy import parse_policy
from tests.agent.point import POLICY


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def test_protected_hours_are_local_half_open_and_wrap_round_midnight() -> None:
    policy = parse_policy({**POLICY, "protectedHours": [{"from": "22:00", "to": "06:00", "days": ["SATURDAY"]}]})
    zone = "Europe/Berlin"  # UTC+2 in July
    assert not policy.protected(at("2026-07-04T19:59:59"), zone)
    assert policy.protected(at("2026-07-04T20:00:00"), zone)  # Saturday 22:00
    assert not policy.protected(at("2026-07-04T22:00:00"), zone)  # Sunday 00:00: by the wall clock it is another day
    assert policy.protected(at("2026-07-04T03:59:59"), zone)
    assert not policy.protected(at("2026-07-04T04:00:00"), zone)


def test_no_days_means_every_day() -> None:
    policy = parse_policy({**POLICY, "protectedHours": [{"from": "00:00", "to": "00:00"}]})
    assert all(policy.protected(at(f"2026-07-{day:02}T{hour:02}:30:00"), "UTC") for day in range(1, 8) for hour in range(24))


def test_emergency_credit() -> None:
    assert parse_policy(POLICY).emergency_micro == 0
    assert parse_policy({**POLICY, "cutOff": {"emergencyCreditMicro": 7}}).emergency_micro == 7


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"mode": "sometimes"}, "mode"),
        ({"cutOff": "never"}, "cutOff"),
        ({"cutOff": {"emergencyCreditMicro": -1}}, "cutOff"),
        ({"protectedHours": [{"from": "24:00", "to": "06:00"}]}, "protectedHours"),
        ({"protectedHours": [{"from": "22:00", "to": "06:00", "days": ["SOMEDAY"]}]}, "protectedHours"),
        ({"protectedHours": [{"from": "22:00", "to": "06:00"}] * 33}, "protectedHours"),
        ({"lostCommunication": {"action": "hold", "milliwattHours": 1.5, "seconds": 1}}, "lostCommunication"),
        ({"recordIntervalS": 0}, "recordIntervalS"),
        ({"loadFinished": {"belowMilliwatts": 0, "forS": 60}}, "loadFinished"),
        ({"loadFinished": {"belowMilliwatts": 5_000}}, "loadFinished"),
        ({"somethingElse": 1}, "somethingElse"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused, match=field):
        parse_policy({**POLICY, **change})
