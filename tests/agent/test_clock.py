"""The clock: never backwards, a jump is not followed but shown, only a time from outside makes it right again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meter_agent.clock import HEAD_AHEAD_S, NANO, Clock

START = 1_800_000_000 * NANO


class Sources:
    """A wall clock and a monotonic counter under the test's hand."""

    def __init__(self) -> None:
        self.wall, self.monotonic = START, 5_000 * NANO
        self.clock = Clock(lambda: self.wall, lambda: self.monotonic)

    def passes(self, seconds: float, drift: float = 0.0) -> None:
        self.monotonic += int(seconds * NANO)
        self.wall += int((seconds + drift) * NANO)


def test_it_is_not_synchronised_until_a_trusted_time_agrees() -> None:
    s = Sources()
    assert not s.clock.synchronised
    assert not s.clock.heard_trusted(START // NANO - 60)
    assert not s.clock.synchronised
    assert s.clock.heard_trusted(START // NANO + 2)
    assert s.clock.synchronised


def test_small_corrections_are_followed() -> None:
    s = Sources()
    s.clock.heard_trusted(START // NANO)
    for _ in range(100):
        s.passes(10, drift=0.1)
        assert s.clock.synchronised
        assert s.clock.now_ns() == s.wall


def test_a_jump_is_not_followed_and_shows_until_a_trusted_time_agrees() -> None:
    s = Sources()
    s.clock.heard_trusted(START // NANO)
    s.passes(60, drift=3_600)
    assert s.clock.now_s() == START // NANO + 60
    assert not s.clock.synchronised
    s.passes(60)
    assert not s.clock.heard_trusted(START // NANO + 120)  # the service says the wall is wrong
    assert s.clock.now_s() == START // NANO + 120
    s.passes(10, drift=-3_600)  # somebody puts it right
    assert s.clock.heard_trusted(START // NANO + 130)
    assert s.clock.synchronised


def test_a_block_from_the_future_shows_that_we_are_late() -> None:
    s = Sources()
    s.clock.heard_trusted(START // NANO)
    s.clock.heard_block(START // NANO + HEAD_AHEAD_S)
    assert s.clock.synchronised
    s.clock.heard_block(START // NANO + HEAD_AHEAD_S + 1)
    assert not s.clock.synchronised


def test_after_a_restart_it_is_not_earlier_than_the_last_record() -> None:
    s = Sources()
    s.clock.not_before(START // NANO + 1_000)
    assert s.clock.now_s() == START // NANO + 1_000
    s.passes(2_000)
    assert s.clock.now_s() == START // NANO + 2_000


def test_a_lead_is_worn_off_at_half_speed_shown_until_it_is_gone_and_kept_while_time_is_metered() -> None:
    s = Sources()
    s.clock.heard_trusted(START // NANO)
    s.clock.not_before(START // NANO + 14_400)  # written by a clock four hours ahead, before it was put right
    assert s.clock.utc_s() == START // NANO
    for _ in range(100):
        s.passes(60)
        s.clock.heard_trusted(s.wall // NANO)
        assert not s.clock.synchronised
    assert s.clock.now_s() == START // NANO + 14_400 + 3_000
    s.clock.steady(True)
    s.passes(600)
    assert s.clock.now_s() == START // NANO + 14_400 + 3_600
    s.clock.steady(False)
    for _ in range(100):
        before = s.clock.now_s()
        s.passes(300)
        assert s.clock.now_s() >= before + 150
    assert s.clock.now_ns() == s.clock.utc_ns() == s.wall
    assert s.clock.synchronised


def test_a_boot_with_the_wall_clock_ahead_is_put_right_by_the_service_and_shown() -> None:
    s = Sources()
    right = START // NANO - 14_400
    assert not s.clock.heard_trusted(right)
    assert s.clock.utc_s() == right  # who calls and what expires goes by this at once …
    assert s.clock.now_s() == START // NANO  # … and what is written does not run backwards
    s.passes(10, drift=-14_400)
    assert s.clock.heard_trusted(right + 10)
    assert not s.clock.synchronised  # not before the records agree
    assert s.clock.now_s() == START // NANO + 5


def test_a_service_that_disagrees_later_does_not_move_a_clock_that_was_right() -> None:
    s = Sources()
    s.clock.heard_trusted(START // NANO)
    s.passes(100)
    assert not s.clock.heard_trusted(START // NANO - 14_400)
    assert s.clock.utc_s() == START // NANO + 100


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-10_000, 10_000)), max_size=30))
def test_it_never_runs_backwards(steps: list[tuple[float, float]]) -> None:
    s = Sources()
    latest = s.clock.now_ns()
    for seconds, drift in steps:
        s.passes(seconds, drift)
        assert s.clock.now_ns() >= latest
        latest = s.clock.now_ns()
        if drift > 9_000:
            s.clock.heard_trusted(s.wall // NANO + int(drift) - 9_500)
            assert s.clock.now_ns() >= latest
