"""When supply counts as disconnected: the table, whole."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meter_agent.line import MeterSample, supply_is_on
from meter_agent.line.disconnection import ORDER_AGAIN_NS, TABLE, DisconnectionCheck, Look, Next, Phase, Seen, seen

CLOSED = Look(False, 230_000, 2_000_000)
LYING = Look(True, 230_000, 2_000_000)
QUIET = Look(True, 230_000, 400)
DEAD = Look(True, 0, 0)
UNKNOWN = Look(None, None, None)
SECOND = 10**9


@pytest.mark.parametrize(
    ("look", "is_"),
    [
        (CLOSED, Seen.CLOSED),
        (LYING, Seen.LIVE),
        (QUIET, Seen.QUIET),
        (DEAD, Seen.DEAD),
        (UNKNOWN, Seen.UNKNOWN),
        (Look(False, 0, 0), Seen.CLOSED),  # dead, but the contact says closed: not disconnected
        (Look(True, None, 0), Seen.QUIET),  # a meter that reports no voltage
        (Look(True, None, 2_000_000), Seen.LIVE),
        (Look(True, 230_000, -2_000_000), Seen.LIVE),  # a roof feeding back
        (Look(True, 49_999, 0), Seen.DEAD),
        (Look(True, 50_000, 5_000), Seen.LIVE),
        (Look(True, 50_000, 4_999), Seen.QUIET),
        (Look(True, 0, None), Seen.UNKNOWN),
        (Look(None, 0, 0), Seen.UNKNOWN),
    ],
)
def test_what_a_look_is(look: Look, is_: Seen) -> None:
    assert seen(look, 5_000) is is_


def test_the_table_is_complete_and_never_leaves_disconnected() -> None:
    assert set(TABLE) == set(itertools.product((Phase.ORDERED, Phase.QUIET_ONCE), Seen))


@pytest.mark.parametrize(
    ("looks", "ends"),
    [
        ([DEAD], [Next.DONE]),
        ([CLOSED, DEAD], [Next.LOOK_AGAIN, Next.DONE]),
        ([QUIET, QUIET], [Next.LOOK_AGAIN, Next.DONE]),
        ([QUIET, LYING, QUIET, QUIET], [Next.LOOK_AGAIN] * 3 + [Next.DONE]),
        ([QUIET, UNKNOWN, QUIET, QUIET], [Next.LOOK_AGAIN] * 3 + [Next.DONE]),
        ([QUIET, CLOSED, QUIET], [Next.LOOK_AGAIN] * 3),
        ([LYING] * 3, [Next.LOOK_AGAIN] * 3),
    ],
)
def test_sequences(looks: list[Look], ends: list[Next]) -> None:
    check = DisconnectionCheck(0, 5 * SECOND)
    assert [check.look(1 + i, look) for i, look in enumerate(looks)] == ends


def test_it_orders_again_each_half_second_and_escalates_at_the_deadline() -> None:
    check = DisconnectionCheck(0, 2 * SECOND)
    times = range(0, 2 * SECOND + 1, SECOND // 10)
    said = [check.look(now, LYING) for now in times]
    assert said.count(Next.ORDER_AGAIN) == 2 * SECOND // ORDER_AGAIN_NS - 1
    assert said[-1] is Next.ESCALATE
    assert Next.ESCALATE not in said[:-1]


any_look = st.builds(
    Look,
    st.one_of(st.none(), st.booleans()),
    st.one_of(st.none(), st.integers(0, 260_000)),
    st.one_of(st.none(), st.integers(-10_000, 10_000)),
)


@given(st.lists(any_look, max_size=30))
def test_done_is_said_exactly_when_the_rule_holds(looks: list[Look]) -> None:
    check = DisconnectionCheck(0, 10**18)
    quiet_before = False
    for now, look in enumerate(looks):
        measured = look.power_milliwatts is not None and look.auxiliary_open is True
        dead = measured and look.voltage_millivolts is not None and look.voltage_millivolts < 50_000
        quiet = measured and look.power_milliwatts is not None and abs(look.power_milliwatts) < 5_000
        expected = dead or (quiet and quiet_before)
        assert (check.look(now, look) is Next.DONE) is expected
        if expected:
            return
        quiet_before = quiet


def test_what_an_idle_agent_watches_for() -> None:
    def at(power: int) -> MeterSample:
        return MeterSample(power, 230_000, None, 0, 0, 0, "")

    assert supply_is_on(False, at(0))
    assert supply_is_on(True, at(2_000_000))
    assert supply_is_on(True, at(-2_000_000))
    assert not supply_is_on(True, at(500))
