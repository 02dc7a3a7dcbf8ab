"""A backup taken while the service runs; a day later (here: some sessions later) it is restored, and catches up before it acts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.control import Cause, SupplyState
from protocol.evidence import Reason
from tests.service.bench_agent import BenchAgent
from tests.service.world import Session, World, eventually, run, running

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]


@pytest.fixture
def own_world(tmp_path: Path) -> Iterator[World]:
    with running(tmp_path) as made:
        yield made


def start(world: World, agent: BenchAgent, lock_micro: int = 50_000) -> Session:
    point = agent.enrol()
    agent.vouch()
    agent.connect()
    session = world.payer.open(world.payer.quote(point, lock_micro), lock_micro)
    session.reaches("running")
    agent.send(agent.frame(agent.record(Reason.START)))
    agent.send(agent.frame(agent.record(rise=1_000)))
    return session


def finish(agent: BenchAgent) -> None:
    agent.send(agent.frame(agent.record(Reason.STOP)))
    agent.supply = SupplyState.DISCONNECTED
    agent.confirm(cause=Cause.LOAD_FINISHED)


def test_an_old_backup_learns_what_happened_since_before_it_acts(own_world: World) -> None:
    world = own_world
    settled_later, goes_on = BenchAgent(world), BenchAgent(world)
    first, second = start(world, settled_later), start(world, goes_on)
    config, file = str(world.home / "service.toml"), world.folder / "backup.db"
    run("backend", "backup", "--config", config, "--out", str(file))
    assert file.stat().st_mode & 0o077 == 0

    # What the backup does not know: more use, a session settled on the chain, commands with higher numbers.
    time.sleep(1)
    for agent in (settled_later, goes_on):
        agent.send(agent.frame(agent.record(rise=1_000)))
    finish(settled_later)
    known = first.reaches("settled")
    balance = world.client.free_micro(world.sender)
    assert known["claimedMicro"] == known["billMicro"] > 0
    used = second.view()["billMicro"]

    assert world.service is not None
    world.service.kill()
    goes_on.close()
    settled_later.close()
    run("backend", "restore", "--config", config, "--from", str(file))
    world.start_service(ready=False)
    # Without its agents it does not act, and says what it waits for.
    eventually("readiness to be refused", lambda: "catches up before it acts" in world.readyz())
    assert second.view()["billMicro"] < used
    numbers = goes_on.highest
    for agent in (settled_later, goes_on):
        agent.events.clear()
        agent.connect()
    world.wait_until_ready()
    assert second.view()["billMicro"] == used
    assert first.reaches("settled")["claimedMicro"] == known["claimedMicro"]
    assert world.client.free_micro(world.sender) == balance  # nothing claimed twice

    goes_on.send(goes_on.frame(goes_on.record(rise=1_000)))
    second.stop()
    eventually("a command with a number that was never used", lambda: goes_on.highest > numbers + 1_000)
    goes_on.send(goes_on.frame(goes_on.record(Reason.STOP)))
    view = second.reaches("settled")
    assert view["claimedMicro"] == view["billMicro"] > used
    assert world.client.free_micro(world.sender) == balance + view["claimedMicro"]
    alarms = [alarm["kind"] for alarm in world.call("GET", "/api/v1/alarms")["items"]]
    assert alarms == []
    for agent in (settled_later, goes_on):
        agent.close()
