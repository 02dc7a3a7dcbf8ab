"""Sessions that begin while the chain stands still: on the operator's stated credit, and no further."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from backend.models import IntentRow, Transfer
from backend.money import settlement
from backend.money.ledger import Kind, Ledger
from backend.sessions import guard
from backend.store.facts import CHAIN, ChainStatus, remember
from chain import event_types
from protocol.control import Cause, SupplyState
from protocol.evidence import Reason
from tests.service.bench_agent import BenchAgent, Meter
from tests.service.inside import LOCK_MICRO, Inside
from tests.service.world import World, eventually


def chain(inside: Inside, *, still_s: int) -> None:
    """What the reader last said, as a chain that made its last block so long ago leaves it."""
    now = inside.service.now_s()
    inside.service.started_s = now - 1_000
    with inside.service.db.writing() as db:
        remember(db, CHAIN, ChainStatus(10_000, now - still_s, 10_000, now - still_s, now - still_s, caught_up=True)._asdict())
    guard.round_(inside.service, inside.service.db.writing)


def settle(inside: Inside) -> None:
    settlement.round_(inside.service, inside.service.db.writing)


BLIND = {"new_sessions_micro": LOCK_MICRO + 1, "seconds": 3_600, "milliwatt_hours": 10**9}


def test_without_a_stated_credit_an_opening_waits_for_the_chain(inside: Inside) -> None:
    meter = Meter()
    session = inside.session(meter, inside.enrol(meter), open_on_chain=False)
    chain(inside, still_s=100)
    assert session.state == "opening"


def test_credit_is_stated_for_all_unlocked_sessions_together(new_inside: Callable[..., Inside]) -> None:
    inside = new_inside(blind=BLIND)
    first, second = Meter(), Meter()
    one = inside.session(first, inside.enrol(first), open_on_chain=False)
    two = inside.session(second, inside.enrol(second), open_on_chain=False)
    chain(inside, still_s=20)
    assert (one.state, two.state) == ("opening", "opening")  # the chain is only slow
    chain(inside, still_s=100)
    assert sorted((one.state, two.state)) == ["open", "opening"]


def used_on_credit(inside: Inside) -> Any:
    meter = Meter()
    session = inside.session(meter, inside.enrol(meter), open_on_chain=False)
    chain(inside, still_s=100)
    session.opened_at_s = session.row().opened_at_s or 0
    session.connect()
    session.use(meter.frame(meter.record(rise=1_000, seconds=3)))
    row = session.row()
    assert (row.unlocked_micro, row.locked_at_s) == (LOCK_MICRO, None)
    assert row.bill_micro > 0
    with inside.service.db.reading() as db:
        assert db.scalars(select(Transfer.cause).where(Transfer.reference == session.session)).all() == ["use-unlocked"]
    settle(inside)
    with inside.service.db.reading() as db:
        assert "claim" not in db.scalars(select(IntentRow.kind)).all()
    return session


def test_it_catches_up_when_the_chain_is_back(new_inside: Callable[..., Inside]) -> None:
    inside = new_inside(blind=BLIND)
    session = used_on_credit(inside)
    meter, now = session.meter, inside.service.now_s()
    inside.final(event_types.SessionOpened(session.session, inside.payer.address, inside.service.payee, LOCK_MICRO), time_s=now)
    assert session.row().locked_at_s == now
    assert session.state == "running"
    session.use(meter.frame(meter.record(Reason.STOP)))
    session.confirm(SupplyState.DISCONNECTED, cause=Cause.PAYER_STOP)
    bill = session.row().bill_micro
    chain(inside, still_s=0)
    settle(inside)  # the chain has not seen as much time as the charge counts
    inside.at(100)
    chain(inside, still_s=0)
    settle(inside)
    with inside.service.db.reading() as db:
        assert db.scalars(select(IntentRow.kind).order_by(IntentRow.id)).all()[-1] == "claim"
    inside.final(event_types.ChargeClaimed(session.session, inside.service.payee, bill, bytes(32)))
    inside.final(event_types.SessionClosed(session.session, bill, LOCK_MICRO - bill))
    settle(inside)
    assert (session.state, session.row().tail_micro) == ("settled", 0)


def test_what_the_chain_refuses_to_lock_is_written_off_by_name(new_inside: Callable[..., Inside]) -> None:
    inside = new_inside(blind=BLIND)
    session = used_on_credit(inside)
    with inside.service.db.writing() as db:
        db.execute(update(IntentRow).where(IntentRow.kind == "open").values(state="reverted", reason="DeadlinePassed"))
    chain(inside, still_s=0)
    settle(inside)
    assert (session.state, session.row().end_cause) == ("ending", Cause.OPERATOR)
    session.use(session.meter.frame(session.meter.record(Reason.STOP)), charge=False)
    session.confirm(SupplyState.DISCONNECTED, cause=Cause.OPERATOR)
    settle(inside)
    row = session.row()
    assert (row.state, row.tail_micro) == ("settled", row.bill_micro)
    with inside.service.db.reading() as db:
        assert db.scalars(select(Transfer.amount_micro).where(Transfer.cause == "unlocked")).one() == row.bill_micro
        assert Ledger(db, 1, 0).balance(Kind.USE, session.session) == 0


@pytest.mark.soak
def test_with_the_chain_stopped_a_session_runs_on_credit_and_is_locked_when_it_is_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.settings["blind"] = {"new_sessions_micro": 10**6, "seconds": 3_600, "milliwatt_hours": 10**9}
    try:
        world.start_chain()
        world.deploy()
        world.start_service()
        agent = BenchAgent(world)
        point = agent.enrol()
        agent.vouch()
        agent.connect()
        os.kill(world.started[0].process.pid, signal.SIGSTOP)
        quoted = world.payer.quote(point, 500_000)
        session = world.payer.open(quoted, 500_000)
        view = session.reaches("running", 90)
        assert view["unlockedMicro"] == 500_000
        os.kill(world.started[0].process.pid, signal.SIGCONT)
        eventually("the lock", lambda: session.view()["unlockedMicro"] is None, 90)
        agent.clock = max(agent.clock, int(time.time()) - 5)
        agent.send(agent.frame(agent.record(Reason.START)))
        agent.send(agent.frame(agent.record(rise=1_000, seconds=3)))
        session.stop()
        eventually("ending", lambda: session.view()["state"] == "ending")
        agent.send(agent.frame(agent.record(Reason.STOP)))
        view = session.reaches("settled", 120)
        assert view["claimedMicro"] == view["billMicro"] > 0
        agent.close()
    finally:
        os.kill(world.started[0].process.pid, signal.SIGCONT)
        world.stop()
