"""`kill -9` of the service before and after every durable step of money in and money out: nothing is lost, nothing is doubled.

The program is killed at the first commit that writes a named table, started again with the next one's name, and so on, while a customer
pays in and asks for money back, and simply asks again. Real service, chain and sandbox.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.keys import Signer
from tests.rails.rail_world import RailWorld, make
from tests.service.test_kill import Supervisor
from tests.service.world import eventually, free_port

TABLES = ("deposits", "rail_movements", "intents", "attempts", "chain_events", "transfers", "rail_events", "payouts", "payout_parts")
CRITICAL = ("deposits", "rail_movements", "attempts", "payout_parts")


@pytest.fixture
def own_world(tmp_path: Path) -> Iterator[RailWorld]:
    made = make(tmp_path, free_port())
    try:
        yield made
    finally:
        made.stop()


def survives(world: RailWorld, steps: list[str]) -> None:
    supervisor = Supervisor(world, list(steps))
    supervisor.start()
    payer, paid_in, rounds = Signer.create(), 0, 0
    deadline = time.monotonic() + 1_200
    try:
        while supervisor.step or rounds == 0:
            assert time.monotonic() < deadline, f"killed at {supervisor.killed}, still waiting for {supervisor.step}"
            eventually("an answer", world.answers, 120)
            rounds += 1
            made = world.deposit(payer.address, 3_000_000, key=f"round {rounds}")
            made = eventually("a pay page", lambda made=made: (v := world.view(made))["payUrl"] and v, 120)  # type: ignore[misc]
            world.paybox.pay(made["payUrl"])
            assert world.reaches(made, "credited", 240)["mintedMicro"] == 3_000_000
            paid_in += 3_000_000
            payout = world.call("POST", "/api/v1/payouts", world.order(payer, 1_000_000))
            assert [part["state"] for part in world.reaches(payout, "paid-back", 240)["parts"]] == ["done"]
        assert supervisor.killed == steps
    finally:
        supervisor.done.set()
        supervisor.join()
    left = paid_in - rounds * 1_000_000
    assert world.client.free_micro(payer.address) == left
    assert world.client.token_micro(world.till) == 0
    assert world.client.token_supply_micro() == left
    refunds = world.paybox.events("refund.created")
    assert len(refunds) == rounds
    world.agrees()
    assert not [name for name in world.alarms() if name.startswith(("rail-", "payout-", "mint-", "transaction-reverted"))]


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_killed_where_money_changes_hands(own_world: RailWorld) -> None:
    survives(own_world, [f"after:{table}" for table in CRITICAL])


@pytest.mark.soak
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_every_step(own_world: RailWorld, when: str) -> None:
    survives(own_world, [f"{when}:{table}" for table in TABLES])
