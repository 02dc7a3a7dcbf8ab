"""A whole point for tests: a rig process on real pseudo-terminals, an agent process, and the desk both sides of a session need."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wattproof_rig.tell import tell

from protocol.control import Action, SessionGrant
from protocol.eip712 import control_domain, digest, to_json
from protocol.hashing import document_hash
from protocol.keys import Signer
from protocol.money import Terms, point_commitment, session_id
from protocol.tariff import Tariff, ceilings
from tests.agent.desk import CHAIN_ID, Desk

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'hardhat-free-devnet'}"}
RATED_WATTS = 3_680

TARIFF = {
    "id": "test", "version": 1, "currency": "EUR", "timeZone": "Europe/Berlin",
    "elements": [{"priceComponents": [{"type": "ENERGY", "microPerKwh": 400_000_000, "taxPpm": 0}]}],
}  # fmt: skip
"""400 a kWh: 400 micro-units a milliwatt-hour, so that a second of 2 kW costs 222,222 and a test lasts seconds."""

POLICY = {
    "mode": "local", "cutOff": "zero", "protectedHours": [],
    "lostCommunication": {"action": "hold", "milliwattHours": 100_000_000, "seconds": 3_600},
    "recordIntervalS": 2, "sampleIntervalS": 1,
}  # fmt: skip


class Session:
    """A session as the service and the payer would make it."""

    def __init__(self, point: AgentPoint, *, lock_micro: int, signer: bytes, metered: bool = True, **changes: Any) -> None:
        desk = point.desk
        self.point, self.tariff = point, changes.pop("tariff", TARIFF)
        self.policy = {**POLICY, **changes.pop("policy", {})}
        per_kwh, per_hour, flat = ceilings(Tariff.from_document(self.tariff))
        now = int(time.time())
        self.salt = os.urandom(32)
        self.opened_at_s = changes.pop("opened_at_s", now)
        self.lock_micro = lock_micro
        self.credit_micro = changes.pop("credit_micro", 0)
        self.credit_milliwatt_hours = changes.pop("credit_milliwatt_hours", 0)
        self.valid_until_s = changes.pop("valid_until_s", now + 3_600)
        self.terms = Terms(
            payer=os.urandom(20), payee=os.urandom(20), refund_to=os.urandom(20),
            point_commitment=point_commitment(point.device, 1, point.meter_key, self.salt), metered=metered, signer=signer,
            tariff_hash=Tariff.from_document(self.tariff).hash, agreement_hash=document_hash(self.policy), max_micro_per_kwh=per_kwh,
            max_micro_per_hour=per_hour, max_flat_micro=flat, rated_watts=RATED_WATTS,
            latest_end_s=changes.pop("latest_end_s", now + 7_200), stop_grace_s=changes.pop("stop_grace_s", 60), close_delay_s=3_600,
            close_delay_blocks=30, salt=os.urandom(32),
        )  # fmt: skip
        assert not changes, changes
        self.id = session_id(self.terms, CHAIN_ID, desk.escrow)

    def grant(self, *, send: bool = True, signer: Signer | None = None, **changes: Any) -> dict[str, Any]:
        """Sign (and send) a grant under the next number."""
        desk = self.point.desk
        desk.number = changes.pop("number", desk.number + 1)
        self.lock_micro = changes.pop("lock_micro", self.lock_micro)
        grant = SessionGrant(
            self.terms, CHAIN_ID, desk.escrow, self.lock_micro, self.credit_micro, self.credit_milliwatt_hours,
            document_hash(self.policy), desk.number, changes.pop("valid_until_s", self.valid_until_s),
        )  # fmt: skip
        signature = (signer or desk.control).sign(digest(control_domain(CHAIN_ID, desk.registry), grant))
        document = {
            "grant": to_json(grant), "signature": "0x" + signature.hex(), "tariff": self.tariff, "policy": self.policy,
            "pointSalt": "0x" + self.salt.hex(), "openedAtS": self.opened_at_s, "device": "0x" + self.point.device.hex(), "channel": 1,
        } | changes  # fmt: skip
        if send:
            desk.say("grant", document)
        return document

    def reconnect(self) -> Any:
        """Wait for the nonce and send the RECONNECT that answers it."""
        desk = self.point.desk
        seen = len(desk.ready)
        nonce = desk.wait(lambda: [n for s, n in desk.ready if s == self.id], "the nonce")[-1]
        assert seen <= len(desk.ready)
        return desk.command(Action.RECONNECT, self.id, nonce)

    def start(self) -> None:
        """Grant, ready, reconnect, connected."""
        seen = len(self.point.desk.confirmations)
        self.grant()
        self.reconnect()
        self.point.confirmed(2, after=seen)


class AgentPoint:
    """One rig, one agent, one desk, in `directory`."""

    def __init__(
        self, directory: Path, *, profile: str = "steady", rig: tuple[str, ...] = (), settings: str = "", slow_line: bool = False
    ) -> None:
        self.directory = directory
        self.state, self.rig_state = directory / "agent", directory / "rig"
        self.passphrase = directory / "passphrase"
        self.passphrase.write_text("correct horse battery staple\n")
        self.passphrase.chmod(0o600)
        baud = 300 if slow_line else 9_600
        self._rig_arguments = [
            "--state", str(self.rig_state), "--profile", profile, "--step", "100", "--initial-baud", str(baud), *rig,
        ]  # fmt: skip
        self.rig: subprocess.Popen[bytes] | None = None
        self.agent: subprocess.Popen[bytes] | None = None
        self.start_rig()
        self.command("init", "--state", str(self.state), "--passphrase-file", str(self.passphrase))
        identity = json.loads((self.state / "identity.json").read_text())
        self.device, self.meter_key = bytes.fromhex(identity["device"][2:]), bytes.fromhex(identity["meterKey"][2:])
        self.desk = Desk(self.device, self.meter_key)
        self.config = directory / "agent.toml"
        self.config.write_text(self._toml(settings + f"[meterLine]\ninitialBaud = {baud}\n"))
        self.log = directory / "agent.err"

    def _toml(self, settings: str) -> str:
        desk = self.desk
        lines = {
            "device": "0x" + self.device.hex(), "channel": 1, "placement": "bench", "ratedWatts": RATED_WATTS, "meter": "rig/meter",
            "relay": "rig/relay", "serviceUrl": desk.url, "serviceKey": "0x" + desk.service.address.hex(),
            "controlKey": "0x" + desk.control.address.hex(), "chainId": CHAIN_ID, "escrow": "0x" + desk.escrow.hex(),
            "registry": "0x" + desk.registry.hex(), "maxLockMicro": 10**12, "recordIntervalS": 900,
        }  # fmt: skip
        return "\n".join(f"{name} = {json.dumps(value)}" for name, value in lines.items()) + "\n" + settings

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run an agent command to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "meter_agent", *arguments], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def start_rig(self) -> None:
        arguments = [sys.executable, "-m", "wattproof_rig", *self._rig_arguments]
        self.rig = subprocess.Popen(arguments, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        until(lambda: (self.rig_state / "rig.json").exists(), "the rig")

    def start(self, *, wrap: tuple[str, ...] = (), wait: bool = True) -> None:
        """Start the agent process, under `wrap` (strace …) if given, and wait until it has called."""
        seen = len(self.desk.vouchers)
        arguments = ["run", "--state", str(self.state), "--config", str(self.config), "--passphrase-file", str(self.passphrase)]
        with self.log.open("ab") as log:
            command = [*wrap, sys.executable, "-m", "meter_agent", *arguments]
            # A group of its own, so that `kill` reaches the agent also behind a wrapper.
            self.agent = subprocess.Popen(command, env=ENVIRONMENT, stderr=log, stdout=log, start_new_session=True)
        if wait:
            self.desk.wait(lambda: len(self.desk.vouchers) > seen, "the agent")

    def kill(self) -> None:
        """`kill -9` the agent."""
        assert self.agent is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.agent.pid, signal.SIGKILL)
        self.agent.wait()
        self.agent = None

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.agent is not None
        self.agent.send_signal(signal.SIGTERM)
        code = self.agent.wait(timeout=20)
        self.agent = None
        return code

    def close(self) -> None:
        if self.agent is not None:
            self.kill()
        if self.rig is not None:
            self.rig.kill()
            self.rig.wait()
        self.desk.close()

    def tell(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Tell the rig; `state` is the truth."""
        return tell(self.rig_state, do, **arguments)

    def session(self, *, lock_micro: int, metered: bool = True, signer: bytes | None = None, **changes: Any) -> Session:
        """A session with the agent's newest charge key, or in payment mode the payer's `signer`."""
        if signer is None:
            signer = self.desk.wait(lambda: self.desk.vouchers, "a voucher")[-1].charge_key
        return Session(self, lock_micro=lock_micro, signer=signer, metered=metered, **changes)

    def confirmed(self, state: int, seconds: float = 20.0, after: int = 0) -> Any:
        """Wait for a confirmation with that state, and return it."""
        found = self.desk.wait(
            lambda: [c for c in self.desk.confirmations[after:] if c.state == state], f"a confirmation with state {state}", seconds
        )
        return found[0]

    def wait_record(self, reason: int, seconds: float = 20.0, after: int = 0) -> Any:
        """Wait for a record with that reason beyond the first `after` records, and return it."""
        return self.desk.wait(
            lambda: [r for r in self.desk.records[after:] if r.reason == reason], f"a record with reason {reason}", seconds
        )[0]

    def stopped(self, seconds: float = 20.0) -> Any:
        """Wait for the STOP record."""
        return self.wait_record(5, seconds)

    def agent_log(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


def until(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """Poll until true."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.05)
    return value
