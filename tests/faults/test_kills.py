"""`kill -9` of agent and service between any two steps of frame → ledger → anchor → claim: nothing is lost, nothing counted twice."""

from __future__ import annotations

import random
import time

import pytest

from tests.faults.house import House

pytestmark = pytest.mark.timeout(400)


def test_both_are_killed_while_power_flows(house: House) -> None:
    session = house.open()
    time.sleep(1.5)
    house.kill("service")
    time.sleep(1)
    house.start("service")
    house.kill("agent")
    house.start("agent")
    house.check(session)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(6))
def test_at_random_moments(house: House, seed: int) -> None:
    """Several kills a session, from its opening to its settlement."""
    chance = random.Random(seed)
    session = house.open()
    for _ in range(4):
        time.sleep(chance.uniform(0, 4))
        name = chance.choice(("service", "agent"))
        house.kill(name)
        time.sleep(chance.uniform(0, 2))
        house.start(name)
    house.check(session)
