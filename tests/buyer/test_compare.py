"""The comparison never fires on honest meters within class, and always fires beyond its bound: whatever the load, lines and clocks do."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from buyer_agent.compare import EARLY_MS, LATE_MS, PPM, SLACK_MS, Comparison, Verdict
from buyer_agent.own_meter import Own, Series

T0_S = 1_800_000_000
loads = st.lists(st.integers(0, 11_000_000), min_size=3, max_size=40)
"""Milliwatts, each for two seconds."""


class Line:
    """The truth: energy in milliwatt-milliseconds at every moment, for a load given in steps of two seconds."""

    def __init__(self, powers: list[int]) -> None:
        self._powers = powers

    def energy(self, at_ms: int) -> int:
        """Milliwatt-hours · 3,600,000 since T0, `at_ms` after it."""
        whole, rest = divmod(max(0, at_ms), 2_000)
        counted = sum(self._powers[i % len(self._powers)] for i in range(whole)) * 2_000
        return counted + self._powers[whole % len(self._powers)] * rest

    def register(self, at_ms: int, step: int, error_ppm: int = 0) -> int:
        return self.energy(at_ms) * (PPM + error_ppm) // (PPM * 3_600_000) // step * step


def compare(
    line: Line, ppm: int, window_s: int, seconds: int, reports: list[int], own: list[tuple[int, int, int]], steps: tuple[int, int]
) -> Verdict | None:
    """Feed both; the first verdict that refuses. `reports[i]`: the seller's energy at second i."""
    series = Series()
    for began, ended, register in own:
        series.add(Own(T0_S * 1_000 + began, T0_S * 1_000 + ended, register, steps[1]))
    comparison = Comparison(series, ppm, window_s)
    for second in range(seconds):
        if not comparison.ready(T0_S + second):
            return None
        verdict = comparison.judge(T0_S + second, reports[second] - reports[0], steps[0])
        if verdict is not None and verdict.over > 0:
            return verdict
    return None


def own_readings(line: Line, seconds: int, every: list[int], step: int, error_ppm: int) -> list[tuple[int, int, int]]:
    """Readings whose register was taken somewhere within the exchange."""
    found, at, i = [], -3_000, 0
    while at < seconds * 1_000 + 5_000:
        took = 100 + every[i % len(every)] % 300
        found.append((at, at + took, line.register(at + took // 2, step, error_ppm)))
        at += max(took + 1, every[i % len(every)])
        i += 1
    return found


@settings(max_examples=150, deadline=None)
@given(
    loads, st.integers(0, 30_000), st.integers(-15_000, 15_000), st.sampled_from((1, 10, 100, 1_000)), st.sampled_from((1, 10, 100, 1_000)),
    st.lists(st.integers(-EARLY_MS, LATE_MS), min_size=1, max_size=9), st.lists(st.integers(200, 2_500), min_size=1, max_size=7),
    st.integers(10, 60),
)  # fmt: skip
def test_honest_meters_never_disagree(
    powers: list[int], loss_ppm: int, seller_ppm: int, seller_step: int, own_step: int, moments: list[int], every: list[int], window: int
) -> None:
    """Both within class, losses as set, any step, any moment of reading within the second, gaps in the own readings."""
    line, seconds = Line(powers), 2 * len(powers)
    own_ppm = -seller_ppm  # the two classes at their worst against each other
    downstream = (PPM + own_ppm) * PPM // (PPM + loss_ppm) - PPM
    class_ppm = 2 * abs(seller_ppm) + 1_000  # a product of the two, a little more than their sum
    reports = [line.register(1_000 * s + moments[s % len(moments)], seller_step, seller_ppm) for s in range(seconds)]
    own = own_readings(line, seconds, every, own_step, downstream)
    allowed = class_ppm + loss_ppm + class_ppm * loss_ppm // PPM + 2
    assert compare(line, allowed, window, seconds, reports, own, (seller_step, own_step)) is None


@settings(max_examples=60, deadline=None)
@given(
    st.integers(100_000, 11_000_000), st.integers(20_000, 400_000), st.integers(0, 30_000), st.sampled_from((1, 10, 100)),
    st.sampled_from((1, 10, 100)), st.integers(0, 200), st.integers(10, 600),
)  # fmt: skip
def test_a_report_too_high_by_a_constant_share_is_refused_within_the_stated_bound(
    power: int, over_ppm: int, allowed_ppm: int, seller_step: int, own_step: int, honest_s: int, window: int
) -> None:
    """Honest for a while, then `over_ppm` above what is allowed: refused once a stretch has used slack and steps / share."""
    line = Line([power])
    slack = power * SLACK_MS // 3_600_000 * (PPM + allowed_ppm) // PPM + 2 * (seller_step + own_step) + 2
    share = allowed_ppm + over_ppm
    bound_s = slack * PPM // over_ppm * 3_600 // power + 3
    seconds = honest_s + bound_s + 1
    extra = [line.energy(1_000 * max(0, s - honest_s)) * share // (PPM * 3_600_000) for s in range(seconds)]
    reports = [(line.energy(1_000 * s + 500) // 3_600_000 + extra[s]) // seller_step * seller_step for s in range(seconds)]
    own = own_readings(line, seconds, [500], own_step, 0)
    found = compare(line, allowed_ppm, max(window, bound_s + 5), seconds, reports, own, (seller_step, own_step))
    assert found is not None
    assert found.since_s >= T0_S


def test_a_report_that_creeps_within_the_allowance_of_every_record_is_found_over_the_window_or_the_session() -> None:
    """3 % too much where 1 % is allowed: no single second shows it among its jitter, half an hour does."""
    line, seconds = Line([2_000_000]), 1_200
    reports = [line.energy(1_000 * s + 400) * 103 // (100 * 3_600_000) for s in range(seconds)]
    own = own_readings(line, seconds, [500], 1, 0)
    found = compare(line, 10_000, 600, seconds, reports, own, (1, 1))
    assert found is not None
    assert found.stretch in ("window", "session")
    assert found.since_s == T0_S


def test_an_over_report_after_hours_of_honest_use_is_found_by_the_window_not_hidden_by_what_was_before() -> None:
    """The seller counts 2 % too little for long, which the session's sum could pay back; the window does not let it."""
    line, turn, seconds = Line([2_000_000]), 1_500, 1_900
    reports = []
    for s in range(seconds):
        below = line.energy(1_000 * min(s, turn)) * 98 // 100
        above = (line.energy(1_000 * s) - line.energy(1_000 * min(s, turn))) * 106 // 100
        reports.append((below + above) // 3_600_000)
    found = compare(line, 10_000, 300, seconds, reports, own_readings(line, seconds, [500], 1, 0), (1, 1))
    assert found is not None
    assert found.stretch == "window"
    assert found.since_s >= T0_S + turn - 300


def test_what_is_not_known_is_not_judged() -> None:
    series = Series()
    comparison = Comparison(series, 0, 60)
    assert not comparison.ready(T0_S)
    series.add(Own(T0_S * 1_000, T0_S * 1_000 + 100, 5_000, 10))
    series.add(Own(T0_S * 1_000, T0_S * 1_000 + 50, 4_000, 10))  # the clock was set back: not taken
    assert series.at_least(T0_S * 1_000) is None
    assert series.at_least(T0_S * 1_000 + 100) == 5_000
    assert series.at_most(T0_S * 1_000) == 5_000
    series.add(Own(T0_S * 1_000 + 500, T0_S * 1_000 + 600, 4_990, 10))
    assert "fell from 5000 to 4990" in series.fell
