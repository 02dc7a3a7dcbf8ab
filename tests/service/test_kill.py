"""`kill -9` before and after every durable step of frame → ledger → anchor → claim, in the real program, against a real chain.

The process is killed at the first commit that writes a named table, started again with the next step's name, and so on, while sessions are
opened, used and ended all the time by an agent and a payer who simply try again. At the end nothing is lost and nothing is counted twice.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.bundle import decode_bundle
from protocol.control import Cause, SupplyState
from protocol.evidence import Reason
from tests.service.bench_agent import BenchAgent
from tests.service.world import ENVIRONMENT, Session, World, eventually

pytestmark = [pytest.mark.timeout(1500), pytest.mark.soak]
KILLER = Path(__file__).parent / "killer"
TABLES = (
    "frames", "session_frames", "transfers", "receipts", "signed_amounts", "epochs", "anchor_links", "intents", "attempts", "chain_events",
    "known_blocks", "claim_rows", "session_steps", "agent_messages", "commands", "confirmations", "signed_requests", "vouchers",
)  # fmt: skip


class Supervisor(threading.Thread):
    """Starts the program again whenever it died, each time to be killed at the next step; at last without."""

    def __init__(self, world: World, steps: list[str]) -> None:
        super().__init__(daemon=True)
        self.world, self.steps = world, steps
        self.killed: list[str] = []
        self.done = threading.Event()
        self._start()

    def _start(self) -> None:
        self.step = self.steps.pop(0) if self.steps else ""
        environment = {"PYTHONPATH": f"{KILLER}:{ENVIRONMENT['PYTHONPATH']}", "WATTPROOF_KILL": self.step} if self.step else {}
        self.world.launch(**environment)

    def run(self) -> None:
        while not self.done.wait(0.1):
            service = self.world.service
            assert service is not None
            if service.process.poll() is not None:
                assert service.process.returncode == -9, service.text()[-2000:]
                self.killed.append(self.step)
                self._start()


@pytest.fixture
def own_world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.patient = True
    # Killed and started again many times it reads no chain for a minute or two where machines are busy; its terms must bear that.
    made.settings["terms"] |= {"stop_grace_seconds": 120, "close_delay_seconds": 240, "start_within_seconds": 300}
    try:
        made.start_chain()
        made.deploy()
        yield made
    finally:
        made.stop()


def one_session(world: World, agent: BenchAgent, point: str) -> Session:
    lock = 20_000
    agent.vouch()
    quoted = eventually("a quote", lambda: world.payer.try_quote(point, lock), 400)
    session = world.payer.open(quoted, lock)
    session.reaches("running", 400)  # the program may be killed several times on the way
    agent.send(agent.frame(agent.record(Reason.START)))
    for _ in range(3):
        agent.send(agent.frame(agent.record(rise=500)))
    agent.send(agent.frame(agent.record(Reason.STOP)))
    agent.supply = SupplyState.DISCONNECTED
    agent.confirm(cause=Cause.LOAD_FINISHED)
    return session


@pytest.mark.parametrize("when", ["before", "after"])
def test_nothing_is_lost_and_nothing_doubled(own_world: World, when: str) -> None:
    world = own_world
    before_payer = world.client.free_micro(world.payer.address)
    supervisor = Supervisor(world, [f"{when}:{table}" for table in TABLES])
    supervisor.start()
    eventually("an answer", lambda: world.answers(), 90)
    agent = BenchAgent(world)
    point = agent.enrol()
    agent.connect()
    sessions = []
    deadline = time.monotonic() + 1_200
    while supervisor.step:
        assert time.monotonic() < deadline, f"killed at {supervisor.killed}, still waiting for {supervisor.step}"
        sessions.append(one_session(world, agent, point))
        sessions[-1].reaches("settled", 400)
    assert supervisor.killed == [f"{when}:{table}" for table in TABLES]
    views = [session.view() for session in sessions]
    for session, view in zip(sessions, views, strict=True):
        assert view["claimedMicro"] == view["chargeMicro"] == view["billMicro"] > 0
        assert view["energyMilliwattHours"] == 1_500
        eventually("every frame anchored", lambda session=session: anchored(world, session), 60)  # type: ignore[misc]
    claimed = sum(view["claimedMicro"] for view in views)
    assert world.client.free_micro(world.sender) == claimed
    assert world.client.free_micro(world.payer.address) == before_payer - claimed
    supervisor.done.set()
    supervisor.join()
    agent.close()
    books(world, claimed)


def anchored(world: World, session: Session) -> bool:
    bundle = decode_bundle(world.call("GET", session.path + "/bundle", token=session.token))
    return all(frame.link is not None for frame in bundle.frames)


def books(world: World, claimed: int) -> None:
    database = sqlite3.connect(f"file:{world.home / 'state' / 'service.db'}?mode=ro", uri=True)
    try:
        sums = database.execute("select sum(debits_posted) - sum(credits_posted), sum(debits_pending), sum(credits_pending) from accounts")
        assert sums.fetchone() == (0, 0, 0)
        paid = "select credits_posted - debits_posted from accounts where kind = 'payee'"
        assert database.execute(paid).fetchone() == (claimed,)
        twice = "select count(*) from (select digest from frames group by digest having count(*) > 1)"
        assert database.execute(twice).fetchone() == (0,)
        assert database.execute("select count(*) from alarms where kind in ('reconciliation', 'loop-failed')").fetchone() == (0,)
    finally:
        database.close()
