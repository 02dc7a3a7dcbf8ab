"""The chain stops, the service cannot be reached, the power goes: metering and cut-off go on, and everything catches up."""

from __future__ import annotations

import time

import pytest

from tests.faults.house import House

pytestmark = [pytest.mark.timeout(400), pytest.mark.soak]


def test_the_chain_stops_during_a_session(house: House) -> None:
    """Metering and cut-off go on without it; anchors and the claim wait, and come when it is back."""
    session = house.open()
    house.kill("chain")
    view = house.until(session, "ended", 60)
    assert view["endCause"] == "CREDIT"
    assert not house.stack.rig("state")["contact_closed"]
    time.sleep(3)
    assert house.view(session)["state"] != "settled"
    house.stack.start_chain()
    house.check(session)


def test_the_service_cannot_be_reached_for_a_while(house: House) -> None:
    """The agent itself disconnects at the end of credit; its frames, charge and confirmation arrive later."""
    session = house.open()
    house.kill("service")
    deadline = time.monotonic() + 60
    while house.stack.rig("state")["contact_closed"]:
        assert time.monotonic() < deadline, "nobody disconnected"
        time.sleep(0.3)
    time.sleep(5)
    house.start("service")
    house.check(session)


def test_the_power_is_lost_at_the_point(house: House) -> None:
    """Meter and relay are silent, the contactor drops out; when power is back the session ends by a rule, and is billed as measured."""
    session = house.open()
    time.sleep(2)
    house.stack.rig("lose_power", on=True)
    time.sleep(4)
    house.stack.rig("lose_power", on=False)
    house.check(session)


def test_agent_and_service_are_killed_together(house: House) -> None:
    session = house.open()
    time.sleep(2)
    house.kill("service")
    house.kill("agent")
    time.sleep(3)
    house.start("service")
    house.start("agent")
    house.check(session)
