"""Without an own meter a seller's jump is worth no more than the connection carries, and an honest meter is never refused for it."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buyer_agent.errors import Disagreement
from buyer_agent.follow import MAX_STEP_MILLIWATT_HOURS, Follower
from protocol.evidence import Reason
from protocol.money import deliverable_milliwatt_hours
from tests.buyer.paper import Paper, now_s

RATED_WATTS = 3_680
"""As in the terms on paper."""


def refusal(follower: Follower, raw: bytes) -> Disagreement:
    with pytest.raises(Disagreement) as error:
        follower.take(raw, now_s())
    return error.value


@pytest.fixture
def paper(tmp_path: Path) -> Paper:
    return Paper(tmp_path)


def test_a_jump_worth_the_whole_lock_is_not_signed_for(paper: Paper) -> None:
    payer = paper.payer(paper.journal())
    for raw in (paper.start(), paper.use()):
        payer.take(raw, now_s())
    assert len(payer.answer()) == 1
    with pytest.raises(Disagreement) as error:
        payer.take(paper.use(rise=2_000_000), now_s())
    assert error.value.code == "rating"
    assert "2001000 mWh in the 2 s" in str(error.value)
    assert "3680 W" in str(error.value)
    assert payer.answer() == []


def test_a_report_that_creeps_ahead_of_what_can_be_carried_is_found(paper: Paper) -> None:
    """Two and a half times the rating, a second at a time: no single record need be impossible, the session soon is."""
    follower = Follower(paper.agreed(), paper.opened_at_s)
    follower.take(paper.start(), now_s())

    def creep() -> None:
        for _ in range(60):
            follower.take(paper.use(rise=2_500), now_s())

    with pytest.raises(Disagreement, match="carries at most") as error:
        creep()
    assert error.value.code == "rating"
    seen = follower.seen
    assert seen is not None
    assert seen.milliwatt_hours < 3 * deliverable_milliwatt_hours(RATED_WATTS, 10)


def test_the_sellers_own_word_for_its_register_step_excuses_nothing_more(tmp_path: Path) -> None:
    paper = Paper(tmp_path, step=MAX_STEP_MILLIWATT_HOURS + 1)
    assert refusal(Follower(paper.agreed(), paper.opened_at_s), paper.start()).code == "step"


def test_what_the_buyers_own_side_carries_bounds_a_seller_that_states_a_higher_rating(paper: Paper) -> None:
    follower = Follower(paper.agreed(), paper.opened_at_s, connection_watts=1_000)
    follower.take(paper.start(), now_s())
    assert refusal(follower, paper.use(rise=10_000, seconds=10)).code == "rating"


@settings(max_examples=40, deadline=None)
@given(
    stretches=st.lists(st.tuples(st.integers(1, 250), st.integers(0, 145)), min_size=1, max_size=12),
    jitter=st.lists(st.integers(-1_500, 1_500), min_size=13, max_size=13),
    step=st.sampled_from((1, 1_000, 10_000, MAX_STEP_MILLIWATT_HOURS)),
    offset=st.integers(0, MAX_STEP_MILLIWATT_HOURS),
)
def test_an_honest_meter_is_never_refused(stretches: list[tuple[int, int]], jitter: list[int], step: int, offset: int) -> None:
    """Any load up to what a breaker holds, records of any length (an outage's come later with their own times), registers in steps and
    read up to a second and a half beside the second they are dated to."""
    with tempfile.TemporaryDirectory() as folder:
        paper = Paper(Path(folder), step=step)
        instants_ms, used = [0], [offset]
        for seconds, percent in stretches:
            instants_ms.append(instants_ms[-1] + 1_000 * seconds)
            used.append(used[-1] + deliverable_milliwatt_hours(RATED_WATTS * percent, seconds) // 100)
        at = sorted(instant + off for instant, off in zip(instants_ms, jitter, strict=False))
        shown = [_at(instants_ms, used, instant) // step * step for instant in at]
        frames = [paper.start()]
        for (before, after), (seconds, _) in zip(pairwise(shown), stretches, strict=True):
            frames.append(paper.use(rise=after - before, seconds=seconds))
        frames.append(paper.use(rise=0, seconds=1, reason=Reason.STOP))
        follower = Follower(paper.agreed(), paper.opened_at_s)
        for raw in frames:  # all of them now, as after an outage
            follower.take(raw, now_s())
        assert follower.stopped
        assert follower.pricer.energy_milliwatt_hours == shown[-1] - shown[0]


def _at(instants_ms: list[int], used: list[int], instant: int) -> int:
    """The energy at a moment, the load even within a stretch and at the breaker's limit before and after them all."""
    most = RATED_WATTS * 145 // 100
    if instant <= 0:
        return max(0, used[0] + instant * most // 3_600)
    for (begun, ended), (low, high) in zip(pairwise(instants_ms), pairwise(used), strict=True):
        if instant <= ended:
            return low + (high - low) * (instant - begun) // (ended - begun)
    return used[-1] + (instant - instants_ms[-1]) * most // 3_600
