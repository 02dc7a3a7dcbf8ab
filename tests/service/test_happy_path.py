"""A session's whole life against a real chain: from the point's enrolment to the bundle, with the books balanced at the end."""

from __future__ import annotations

import sqlite3
import time

import pytest

from protocol.bundle import decode_bundle
from protocol.control import Cause, SupplyState
from protocol.evidence import Reason
from tests.service.bench_agent import BenchAgent
from tests.service.world import World, eventually

LOCK_MICRO = 2_000

pytestmark = pytest.mark.timeout(400)  # starts a chain and the programs; a loaded machine takes its time


def test_from_enrolment_to_settlement(world: World) -> None:
    agent = BenchAgent(world)
    point_id = agent.enrol()
    agent.vouch()
    agent.connect()
    before = world.client.free_micro(world.payer.address)
    session = world.payer.open(world.payer.quote(point_id, LOCK_MICRO), LOCK_MICRO)
    session.reaches("running")
    agent.send(agent.frame(agent.record(Reason.START)))
    spent = 0
    while spent < LOCK_MICRO:
        time.sleep(1)
        agent.clock = max(agent.clock, int(time.time()) - 1)
        agent.send(agent.frame(agent.record(rise=1_000, power=3_600_000)))
        assert agent.pricer is not None
        spent = agent.pricer.total_micro
        if spent < LOCK_MICRO:
            assert session.view()["billMicro"] == spent
    agent.supply = SupplyState.DISCONNECTED
    agent.send(agent.frame(agent.record(Reason.STOP)))
    agent.confirm(cause=Cause.CREDIT)
    view = session.reaches("settled")
    assert view["endCause"] == "CREDIT"
    assert view["billMicro"] == spent
    assert view["claimedMicro"] == LOCK_MICRO
    assert view["tailMicro"] == spent - LOCK_MICRO
    assert view["returnedMicro"] == 0
    assert world.client.free_micro(world.payer.address) == before - LOCK_MICRO
    assert world.client.free_micro(world.sender) >= LOCK_MICRO
    eventually("the last frame is anchored", lambda: all(f.link is not None for f in bundle(world, session.path, session.token).frames))
    proof = bundle(world, session.path, session.token)
    assert len(proof.frames) == len(agent.frames)
    assert proof.bill["totalMicro"] == spent
    assert proof.charge is not None
    assert proof.end is not None
    assert proof.end.value.cause == Cause.CREDIT
    assert proof.charge.value.amount_micro == LOCK_MICRO
    eventually("enrolled on the chain", lambda: world.call("GET", f"/api/v1/points/{point_id}")["enrolment"] == "enrolled")
    time.sleep(3)
    assert alarms(world) == []
    agent.close()


def alarms(world: World) -> list[str]:
    return [f"{a['kind']} {a['place']}: {a['detail']}" for a in world.call("GET", "/api/v1/alarms")["items"]]


def bundle(world: World, path: str, token: str):  # type: ignore[no-untyped-def]
    return decode_bundle(world.call("GET", path + "/bundle", token=token))


def test_the_books_balance(world: World) -> None:
    database = sqlite3.connect(f"file:{world.home / 'state' / 'service.db'}?mode=ro", uri=True)
    sums = "select sum(debits_posted), sum(credits_posted), sum(debits_pending), sum(credits_pending) from accounts"
    debits, credits, pending_debits, pending_credits = database.execute(sums).fetchone()
    settled = database.execute(sums + " where reference in (select session from sessions where state = 'settled')").fetchone()
    database.close()
    assert debits == credits > 0
    assert pending_debits == pending_credits  # of sessions that other files left running in this world
    assert settled[2:] == (0, 0)


def test_a_difference_between_books_and_contract_raises_an_alarm_and_clears_it(world: World) -> None:
    database = sqlite3.connect(world.home / "state" / "service.db", timeout=20)

    def change(by: int) -> None:
        with database:
            database.execute("update accounts set credits_posted = credits_posted + ? where kind = 'payee'", (by,))

    try:
        change(7)
        found = eventually("the alarms", lambda: {a.partition(":")[0] for a in alarms(world) if "reconciliation" in a})
        assert found == {"reconciliation books-unbalanced", "reconciliation payee-balance"}
        change(-7)
        eventually("their end", lambda: not alarms(world))
    finally:
        database.close()
