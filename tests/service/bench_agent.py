"""A meter agent written by hand for these tests: real keys, real frames, real HTTP; its meter is whatever the test says it reads.

It shares no code with `meter_agent`: what it does is what docs/walls.md says an agent does.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from typing import Any

import httpx2

from protocol.control import Action, AgentHello, KeyBinding, KeyRole, SessionGrant, SupplyCommand, SupplyConfirmation, SupplyState
from protocol.eip712 import EVIDENCE, Domain, control_domain, digest, from_json, to_json
from protocol.evidence import ChargeKeyVoucher, Frame, Reason, Receipt, Record, details_hash, make_frame, meter_hash
from protocol.keys import Signer, check_signature
from protocol.money import MeteredCharge, session_id
from protocol.pricing import Pricer
from protocol.tariff import Tariff
from protocol.wire import SignedFrame, frame_document
from tests.service.world import World, eventually

SERIAL, PLACEMENT = "1ESY1160000001", "test bench"
RATED_WATTS = 3_680
STEP = 1_000
DIGITS = 9

TARIFF = {
    "id": "test-flat", "version": 1, "currency": "EUR", "timeZone": "Europe/Berlin",
    "elements": [{"priceComponents": [{"type": "ENERGY", "microPerKwh": 300_000, "taxPpm": 190_000}]}],
}  # fmt: skip
POLICY: dict[str, Any] = {
    "mode": "local", "cutOff": "zero", "protectedHours": [], "recordIntervalS": 1, "sampleIntervalS": 1,
    "lostCommunication": {"action": "hold", "milliwattHours": 1_000_000, "seconds": 600},
}  # fmt: skip


class Meter:
    """One device with one channel: its keys, its register, and its signed log."""

    def __init__(self, channel: int = 1) -> None:
        self.channel = channel
        self.device = os.urandom(32)
        self.meter_key = Signer.create()
        self.charge_keys: dict[bytes, Signer] = {}
        self.incarnation, self.previous, self.sequence, self.head_seen = os.urandom(32), bytes(32), 1, bytes(32)
        self.register, self.clock = 5_000_000, int(time.time())
        self.meter_hash = meter_hash(SERIAL, PLACEMENT)
        self.frames: list[SignedFrame] = []

    def voucher(self) -> tuple[ChargeKeyVoucher, bytes]:
        """A fresh charge key and the meter key's word for it."""
        key = Signer.create()
        self.charge_keys[key.address] = key
        voucher = ChargeKeyVoucher(self.device, self.channel, key.address, int(time.time()))
        return voucher, self.meter_key.sign(digest(EVIDENCE, voucher))

    def binding(self, control: Domain, deadline_s: int) -> bytes:
        return self.meter_key.sign(digest(control, KeyBinding(self.device, KeyRole.METER, self.meter_key.address, deadline_s)))

    def hello(self, control: Domain, at_s: int | None = None) -> dict[str, str]:
        """The header by which an agent says who it is."""
        hello = AgentHello(self.device, at_s or int(time.time()), os.urandom(32))
        document = to_json(hello) | {"signature": "0x" + self.meter_key.sign(digest(control, hello)).hex()}
        return {"Authorization": "Wattproof " + base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")}

    def restart(self, previous: bytes | None = None) -> None:
        """A new incarnation that goes on from the last frame (or from another)."""
        self.incarnation = os.urandom(32)
        if previous is not None:
            self.previous = previous

    def record(self, reason: Reason = Reason.PERIODIC, *, rise: int = 0, seconds: int = 1, power: int = 0, **changes: Any) -> Record:
        """The next record: the register rises by `rise` mWh in `seconds`."""
        start = self.clock
        self.clock += 0 if reason == Reason.START else seconds
        self.register += rise
        record = Record(
            self.device, self.channel, self.sequence, start, self.clock, self.register, 0, STEP, 230_000, 0, power, 0, int(reason),
            self.meter_hash, details_hash([]), os.urandom(32),
        )._replace(**changes)  # fmt: skip
        self.sequence += 1
        return record

    def frame(self, *records: Record, **changes: Any) -> SignedFrame:
        """A signed frame that follows the log."""
        body: Frame = make_frame(records, self.incarnation, self.previous, self.head_seen)._replace(**changes)
        signed = SignedFrame(body, b"", records, ((),) * len(records))
        signed = signed._replace(signature=self.meter_key.sign(signed.digest))
        self.previous = signed.digest
        self.frames.append(signed)
        return signed


class BenchAgent(Meter):
    """A meter with an agent that calls and listens."""

    def __init__(self, world: World, channel: int = 1) -> None:
        super().__init__(channel)
        self.world = world
        self.control = control_domain(world.deployment.chain_id, world.deployment.registry)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.sent: list[SignedFrame] = []
        self.charges: dict[bytes, dict[str, Any]] = {}
        self.highest = 0
        self.supply = SupplyState.DISCONNECTED
        self.auto = True  # obey commands as they come
        self.point: dict[str, Any] = {}
        self.grant: SessionGrant | None = None
        self.pricer: Pricer | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # --- enrolment ---

    def enrol(self, tariff: dict[str, Any] | None = None, policy: dict[str, Any] | None = None, *, on_chain: bool = True) -> str:
        self.policy = policy or POLICY
        self.tariff = Tariff.from_document(tariff or TARIFF)
        tariff_hash = self.world.call("POST", "/api/v1/tariffs", {"document": self.tariff.document})["tariffHash"]
        deadline_s = int(time.time()) + 3_600
        body = {
            "device": "0x" + self.device.hex(), "channel": self.channel, "name": "Bench", "placement": PLACEMENT, "serial": SERIAL,
            "meterKey": "0x" + self.meter_key.address.hex(), "ratedWatts": RATED_WATTS, "tariffHash": tariff_hash, "policy": self.policy,
            "registerDigits": DIGITS, "stepMilliwattHours": STEP,
        }  # fmt: skip
        if on_chain:
            body["binding"] = {"deadlineS": deadline_s, "signature": "0x" + self.binding(self.control, deadline_s).hex()}
        self.point = self.world.call("POST", "/api/v1/points", body)
        self.control_key = bytes.fromhex(self.point["controlKey"][2:])
        self.service_key = bytes.fromhex(self.point["serviceKey"][2:])
        return str(self.point["pointId"])

    # --- what it sends ---

    def _path(self, call: str) -> str:
        return f"{self.world.url}/api/v1/agents/0x{self.device.hex()}/{call}"

    def post(self, call: str, body: Any, *, hello: bool = False) -> Any:
        answer = self.world.request("POST", lambda: self._path(call), lambda: self.hello(self.control) if hello else {}, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def vouch(self) -> None:
        voucher, signature = self.voucher()
        self.post("vouchers", {"voucher": to_json(voucher), "signature": "0x" + signature.hex()})

    def send(self, *frames: SignedFrame, charge: bool = True, expect: int = 200) -> dict[str, Any]:
        """Post frames, each with the charge it justifies, and check the receipt."""
        for signed in frames:
            for record in signed.records:
                if self.pricer is not None and record.channel == self.channel:
                    self.pricer.add(record)
            self.sent.append(signed)
            if charge and self.pricer is not None and self.grant is not None and self.pricer.total_micro:
                self.charges[signed.digest] = self.charge(signed)
        return self._post_frames(list(frames), [self.charges[f.digest] for f in frames if f.digest in self.charges], expect)

    def _post_frames(self, frames: list[SignedFrame], charges: list[dict[str, Any]], expect: int = 200) -> dict[str, Any]:
        body = {"frames": [frame_document(f) for f in frames], "charges": charges}
        answer = self.world.request("POST", lambda: f"{self.world.url}/api/v1/frames", json=body)
        assert answer.status_code == expect, answer.text
        document: dict[str, Any] = answer.json()
        for receipt in document.get("receipts", []):
            fields = dict(receipt)
            signature = bytes.fromhex(fields.pop("signature")[2:])
            check_signature(digest(EVIDENCE, from_json(Receipt, fields)), signature, self.service_key)
        return document

    def charge(self, signed: SignedFrame) -> dict[str, Any]:
        assert self.pricer is not None
        assert self.grant is not None
        amount = min(self.pricer.total_micro, self.grant.lock_micro)
        charge = MeteredCharge(self.session_id, amount, self.pricer.energy_milliwatt_hours, self.pricer.elapsed_s, signed.digest)
        key = self.charge_keys[self.grant.terms.signer]
        return to_json(charge) | {"signature": "0x" + key.sign(digest(self.world.money, charge)).hex()}

    # --- what it hears ---

    def connect(self) -> None:
        """Open the stream, and follow it until `close`."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        eventually("the stream", lambda: any(name == "have" for name, _ in self.events))

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                with httpx2.stream("GET", self._path("stream"), headers=self.hello(self.control), timeout=7) as answer:
                    assert answer.status_code == 200, answer.read()
                    self._lines(answer)
            except (httpx2.HTTPError, AssertionError):
                time.sleep(0.2)

    def _lines(self, answer: Any) -> None:
        name = ""
        for line in answer.iter_lines():
            if self._stop.is_set():
                return
            if line.startswith("event:"):
                name = line[6:].strip()
            elif line.startswith("data:"):
                self._event(name, json.loads(line[5:]))

    def _event(self, name: str, data: dict[str, Any]) -> None:
        self.events.append((name, data))
        if name == "head":
            self.head_seen = bytes.fromhex(data["head"][2:])
        if name == "have":
            self._send_again(bytes.fromhex(data["frame"][2:]))
        if not self.auto:
            return
        if name == "grant":
            self._granted(data)
        elif name == "command":
            self._commanded(data)

    def _send_again(self, held: bytes) -> None:
        """What the service does not hold, though it may have acknowledged it before."""
        digests = [signed.digest for signed in self.sent]
        start = digests.index(held) + 1 if held in digests else 0
        for signed in self.sent[start:]:
            self._post_frames([signed], [self.charges[signed.digest]] if signed.digest in self.charges else [])

    def _granted(self, data: dict[str, Any]) -> None:
        grant = from_json(SessionGrant, data["grant"])
        check_signature(digest(self.control, grant), bytes.fromhex(data["signature"][2:]), self.control_key)
        new = self.grant is None or grant.terms != self.grant.terms
        self.session_id = session_id(grant.terms, grant.chain_id, grant.escrow)
        self.grant, self.opened_at_s = grant, data["openedAtS"]
        if new:
            self.pricer = None
        if new or self.supply != SupplyState.CONNECTED:
            self.clock = max(self.clock, self.opened_at_s)
            self.post("ready", {"session": "0x" + self.session_id.hex(), "nonce": "0x" + os.urandom(32).hex()}, hello=True)

    def _commanded(self, data: dict[str, Any]) -> None:
        fields = dict(data)
        signature = bytes.fromhex(fields.pop("signature")[2:])
        command = from_json(SupplyCommand, fields)
        check_signature(digest(self.control, command), signature, self.control_key)
        if command.number <= self.highest:
            return
        self.highest = command.number
        if command.action == Action.RECONNECT:
            self.supply = SupplyState.CONNECTED
            self.pricer = self.pricer or Pricer(self.tariff, self.opened_at_s, 10**DIGITS * STEP)
            self.confirm(command=digest(self.control, command), session=command.session)
        else:
            self.supply = SupplyState.DISCONNECTED
            self.confirm(command=digest(self.control, command), session=command.session)

    def confirm(self, *, command: bytes = bytes(32), session: bytes | None = None, cause: int = 0, state: int | None = None) -> Any:
        on = self.supply == SupplyState.CONNECTED
        said = SupplyConfirmation(
            self.device, self.channel, int(self.supply if state is None else state), session or self.session_id, self.highest, command,
            int(time.time()), not on, 230_000 if on else 0, 0, cause,
        )  # fmt: skip
        return self.post("confirmations", to_json(said) | {"signature": "0x" + self.meter_key.sign(digest(self.control, said)).hex()})

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)

    def heard(self, name: str) -> list[dict[str, Any]]:
        return [data for event, data in self.events if event == name]
