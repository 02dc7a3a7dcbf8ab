"""A whole house of real processes whose programs are killed in the middle of a session, and everything that must be so afterwards."""

from __future__ import annotations

import json
import sqlite3
import time
from typing import Any

import httpx2
from wattproof_demo.processes import DemoFailed
from wattproof_demo.scene_spine import SpineScene
from wattproof_demo.screen import Screen
from wattproof_demo.session import PayerSession
from wattproof_demo.stack import Stack

from protocol.wire import decode_frame

LOCK_MICRO = 3_000
"""8.4 Wh at the demo's price: eight seconds of a socket's full load, less than the grace after which a silent chain ends it."""
SETTLE_S = 150


class House:
    """A stack that runs, and what to ask of it."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.processes = stack, stack.processes
        self.scene = SpineScene(stack, Screen())

    def open(self, lock_micro: int = LOCK_MICRO) -> PayerSession:
        """A session that holds power."""
        session = PayerSession(self.stack, lock_micro)
        session.quote()
        session.open()
        self.until(session, "running", 60)
        return session

    def try_open(self) -> PayerSession | None:
        """A session, however far it gets; None if the service does not even take the signed order."""
        session = PayerSession(self.stack, LOCK_MICRO)
        try:
            session.quote()
            session.open()
        except (httpx2.HTTPError, DemoFailed):
            return None
        return session

    def kill(self, name: str) -> None:
        self.processes.stop(name, kill=True)

    def start(self, name: str, wrap: tuple[str, ...] = ()) -> None:
        """Start a program again, from the state it left."""
        {"agent": self.stack.start_agent, "service": self.stack.start_service}[name](wrap)

    def view(self, session: PayerSession) -> dict[str, Any]:
        """The session, or nothing while the service is not there."""
        try:
            return session.view()
        except (httpx2.HTTPError, DemoFailed):
            return {"state": "", "waitingFor": "the service"}

    def until(self, session: PayerSession, state: str, timeout_s: float) -> dict[str, Any]:
        """Follow the session to a state, or past it."""
        order = ("", "quoted", "opening", "open", "running", "ending", "ended", "settling", "settled")
        deadline = time.monotonic() + timeout_s
        while True:
            view = self.view(session)
            if order.index(view["state"]) >= order.index(state):
                return view
            assert time.monotonic() < deadline, f"not {state} after {timeout_s} s: {view}\n{self.logs()}"
            time.sleep(0.3)

    def logs(self) -> str:
        return "\n".join(f"--- {name}\n{self.processes.tail(name)}" for name in ("service", "agent"))

    # --- what must be so ---

    def check(self, session: PayerSession) -> None:
        """After whatever happened: money, books, evidence and supply are exact."""
        view = self.until(session, "settled", SETTLE_S)
        chain = self.stack.client.session(session.terms)
        assert chain.closed
        assert chain.claimed_micro == view["claimedMicro"] == view["chargeMicro"], view
        assert 0 < view["chargeMicro"] <= min(view["billMicro"], session.lock_micro), view
        assert not self.stack.rig("state")["contact_closed"], "supply is still on"
        self.check_money()
        self.check_frames()
        self.check_bundle(session)

    def check_money(self) -> None:
        """What the escrow holds is what it owes; the books balance, and say what the chain says."""
        stack, client = self.stack, self.stack.client
        payee = bytes.fromhex(stack.call("GET", "/api/v1/service")["payee"][2:])
        free = client.free_micro(payee)
        assert client.token_micro(client.deployment.escrow) == client.free_micro(stack.payer.address) + free
        with sqlite3.connect(f"file:{stack.state / 'service' / 'state' / 'service.db'}?mode=ro", uri=True) as books:
            debits, credits_, pending_debits, pending_credits = books.execute(
                "select sum(debits_posted), sum(credits_posted), sum(debits_pending), sum(credits_pending) from accounts"
            ).fetchone()
            assert debits == credits_ > 0
            assert pending_debits == pending_credits == 0
            row = books.execute("select sum(credits_posted - debits_posted) from accounts where kind = 'payee'").fetchone()
            assert row[0] == free, "the books and the chain differ on what the payee has"
        books.close()
        alarms = stack.call("GET", "/api/v1/alarms")["items"]
        assert [a for a in alarms if a["kind"] in ("reconciliation", "equivocation", "chain-differs")] == []

    def check_frames(self) -> None:
        """Every frame of the agent's log is at the service exactly once, byte for byte, in order."""
        deadline = time.monotonic() + 40
        while True:
            kept, held = self._agent_frames(), self._service_frames()
            missing = [digest for digest in kept if digest not in set(held)]
            if not missing or time.monotonic() > deadline:
                break
            time.sleep(1)
        assert missing == [], f"{len(missing)} of {len(kept)} frames are not at the service\n{self.logs()}"
        assert len(set(held)) == len(held)
        assert held[: len(kept)] == kept, "frames are at the service in another order, or some that the agent does not have"

    def _agent_frames(self) -> list[bytes]:
        done = self.processes.run("meter_agent", "log", "--state", str(self.stack.state / "agent"), "--last", "1000000", "--json")
        entries = [json.loads(line) for line in done.stdout.splitlines()]
        return [decode_frame(json.dumps(entry["frame"]).encode()).digest for entry in entries if entry.get("frame")]

    def _service_frames(self) -> list[bytes]:
        with sqlite3.connect(f"file:{self.stack.state / 'service' / 'state' / 'service.db'}?mode=ro", uri=True) as books:
            rows = books.execute("select digest from frames order by id").fetchall()
        books.close()
        return [row[0] for row in rows]

    def check_bundle(self, session: PayerSession) -> None:
        """An outsider's verdict once the last frame is anchored: no check fails."""
        _, heads = self.scene._anchored_bundle(session)
        report = self.scene._verify(self.stack.state / "session.wattproof", heads)
        failed = [check for check in report["checks"] if check["verdict"] == "fail"]
        assert failed == [], json.dumps(failed, indent=1)
        assert report["exitCode"] == 0
