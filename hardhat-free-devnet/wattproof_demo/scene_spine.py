"""The main job: a kilowatt-hour's whole life, from a serial line to a bill that an outsider can check."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from .house import start_house
from .processes import DemoFailed
from .screen import Screen, energy, money
from .session import PayerSession
from .stack import PREPAID_MICRO, RATED_WATTS, REGISTER_STEP_MILLIWATT_HOURS, Choices, Stack
from .tampering import delete_one_record, flip_one_digit

LOCK_MICRO = 15_000
SWITCHING_S = 1
READ_PERIOD_S = 2
"""One sample and one record a second, and a read that may just have begun: the promise's read period, rounded up."""

NEEDS_ANCHOR = ("epoch-inclusion", "links", "key-events", "frame-keys")
"""Checks that pass only once the session's last frame stands on the chain."""


NOT_CHECKED_OFFLINE = {"chain-facts", "receipts"}
"""What no trusted head can settle: the chain itself is asked by `compare-chain`, receipts are the agent's and not in the service's file."""


class SpineScene:
    """Runs the scene on a stack; every claim on the screen is checked."""

    choices = Choices()

    def __init__(self, stack: Stack, screen: Screen) -> None:
        self.stack, self.screen = stack, screen
        self.trust = ""

    def run(self) -> None:
        self.start()
        session = self.open()
        self.use_up(session)
        self.settle(session)
        self.audit(session)

    # --- house ---

    def start(self) -> None:
        stack, screen = self.stack, self.screen
        stack.init_service()
        start_house(stack, screen)
        screen.step("The payer prepays into the escrow")
        stack.deposit()
        free = stack.client.free_micro(stack.payer.address)
        screen.check(f"free balance in the escrow: {money(free)}", free == PREPAID_MICRO)

    # --- session ---

    def open(self) -> PayerSession:
        stack, screen = self.stack, self.screen
        screen.step(f"A session: {money(LOCK_MICRO)} is locked before any power flows")
        session = PayerSession(stack, LOCK_MICRO)
        session.quote()
        self._free_before = stack.client.free_micro(stack.payer.address)
        screen.check("supply is disconnected before the session", not stack.rig("state")["contact_closed"])
        stack.rig("mark")
        session.open()
        session.watch("running", 40)
        state = stack.client.session(session.terms)
        screen.check("the lock stands on the chain", state.lock_micro == LOCK_MICRO)
        screen.check("supply is measured connected", stack.rig("state")["contact_closed"])
        return session

    def use_up(self, session: PayerSession) -> None:
        screen = self.screen
        screen.step("The load draws its profile, one second a slot at that slot's real power, until the money ends")
        shown = [0.0]

        def show(view: dict[str, Any]) -> None:
            if time.monotonic() - shown[0] >= 2:
                shown[0] = time.monotonic()
                watts, used = self.stack.rig("state")["power_milliwatts"] // 1000, energy(view["energyMilliwattHours"])
                screen.tell(f"{watts:6d} W   {used:>12}   {money(view['billMicro'])} of {money(LOCK_MICRO)}")

        view = session.watch("ended", 60, show)
        screen.check("the session ended by the end of credit", view["endCause"] == "CREDIT", view["endCause"])
        truth = self.stack.rig("state")
        screen.check("supply is disconnected, in truth and as measured and signed by the agent",
                     not truth["contact_closed"] and truth["power_milliwatts"] == 0 and view["disconnectedAtS"] is not None)  # fmt: skip
        self._check_bound(session, truth["since_mark_milliwatt_hours"])

    def _check_bound(self, session: PayerSession, used_milliwatt_hours: int) -> None:
        """Promise 1: energy beyond the lock ≤ rated power × (read period + switching time) + one register step."""
        price = session.terms.max_micro_per_kwh
        paid_for = LOCK_MICRO * 1_000_000 // price
        bound = RATED_WATTS * 1000 * (READ_PERIOD_S + SWITCHING_S) // 3600 + REGISTER_STEP_MILLIWATT_HOURS
        beyond = max(0, used_milliwatt_hours - paid_for)
        self.screen.check(f"energy beyond the lock: {energy(beyond)}, within the stated {energy(bound)}", beyond <= bound)

    def settle(self, session: PayerSession) -> None:
        stack, screen = self.stack, self.screen
        screen.step("Claim, close, refund, anchor")
        view = session.watch("settled", 60)
        state = stack.client.session(session.terms)
        same = state.claimed_micro == view["claimedMicro"] == view["chargeMicro"]
        claimed = f"claimed {money(state.claimed_micro)}, what the meter charged, not above the lock"
        screen.check(claimed, same and 0 < state.claimed_micro <= LOCK_MICRO)
        back = stack.client.free_micro(stack.payer.address)
        screen.check(f"the rest is back at the payer: {money(LOCK_MICRO - state.claimed_micro)}",
                     state.closed and back == self._free_before - state.claimed_micro)  # fmt: skip
        screen.check("the payee has what was claimed", stack.client.free_micro(session.terms.payee) >= state.claimed_micro)
        self._check_books()

    def _check_books(self) -> None:
        """The chain's own conservation law, from outside: what the escrow holds is what it owes."""
        stack = self.stack
        held = stack.client.token_micro(stack.client.deployment.escrow)
        owed = stack.client.free_micro(stack.payer.address) + stack.client.free_micro(self._payee())
        self.screen.check(f"the escrow holds {money(held)}, exactly what it owes", held == owed, money(owed))

    def _payee(self) -> bytes:
        return bytes.fromhex(self.stack.call("GET", "/api/v1/service")["payee"][2:])

    # --- audit ---

    def audit(self, session: PayerSession) -> None:
        stack, screen = self.stack, self.screen
        screen.step("The bill, checked by an outsider")
        bundle, heads = self._anchored_bundle(session)
        path = stack.state / "session.wattproof"
        passed = self._verify(path, heads)
        self.trust = " ".join(f"--head {head}" for head in heads)
        unchecked = [check["check"] for check in passed["checks"] if check["verdict"] == "not checked"]
        screen.check(
            f"auditor, offline: none of {len(passed['checks'])} checks fails ({self._count(passed, 'pass')} passed; "
            f"not checked: {', '.join(unchecked)})",
            passed["exitCode"] == 0 and set(unchecked) <= NOT_CHECKED_OFFLINE,
        )
        screen.tell(f"bundle {path} ({len(bundle):,} bytes)")
        flipped = stack.state / "flipped.wattproof"
        sequence = flip_one_digit(bundle, flipped)
        self._named("one register digit flipped", self._verify(flipped, heads), sequence)
        shortened = stack.state / "shortened.wattproof"
        sequence = delete_one_record(bundle, shortened)
        self._named("one record deleted", self._verify(shortened, heads), sequence)

    def _anchored_bundle(self, session: PayerSession) -> tuple[bytes, list[str]]:
        """The bundle once its last frame is anchored, and the heads to trust, read from the chain and not from the service."""
        anchorer = bytes.fromhex(self.stack.call("GET", "/api/v1/service")["anchorer"][2:])
        device = bytes.fromhex(self.stack.point["device"][2:])
        path = self.stack.state / "session.wattproof"
        deadline = time.monotonic() + 40
        while True:
            heads = ["0x" + head.hex() for head in (self.stack.client.anchor_head(anchorer), self.stack.client.key_head(device))]
            bundle = session.bundle()
            path.write_bytes(bundle)
            report = self._verify(path, heads)
            waits = [check["check"] for check in report["checks"] if check["verdict"] != "pass" and check["check"] in NEEDS_ANCHOR]
            if not waits:
                return bundle, heads
            if time.monotonic() > deadline:
                raise DemoFailed(f"the bundle's frames are not anchored after 40 s: {', '.join(waits)} did not pass")
            time.sleep(1)

    def _verify(self, path: Path, heads: list[str]) -> dict[str, Any]:
        trust = [word for head in heads for word in ("--head", head)]
        done = self.stack.processes.run("auditor", "verify", str(path), *trust, "--json", accept=tuple(range(32)))
        try:
            report: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise DemoFailed(f"the auditor answered no JSON: {done.stdout[-500:]}{done.stderr[-500:]}") from None
        return report | {"exitCode": done.returncode}

    @staticmethod
    def _count(report: dict[str, Any], verdict: str) -> int:
        return sum(check["verdict"] == verdict for check in report["checks"])

    def _named(self, what: str, report: dict[str, Any], sequence: int) -> None:
        failed = [check for check in report["checks"] if check["verdict"] == "fail"]
        places = json.dumps(failed)
        named = bool(failed) and report["exitCode"] != 0 and str(sequence) in places
        checks = ", ".join(check["check"] for check in failed[:4])
        self.screen.check(f"{what}: found, and record {sequence} is named ({checks})", named, places[:400])
