"""A service for the agent's tests: a real HTTP server that judges what an agent sends as the service would, and keeps it.

Strict on everything the walls promise (docs/walls.md): signatures, chain of frames, order, authorisation. It prices nothing and
stores nothing on disk; the real service is joined to the agent in tests/integration.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from protocol.control import AgentHello, SupplyCommand, SupplyConfirmation
from protocol.eip712 import EVIDENCE, control_domain, digest, from_json, hex_bytes, money_domain, to_json
from protocol.errors import BadSignature
from protocol.evidence import ChargeKeyVoucher, HandOver, Receipt
from protocol.keys import Signer, check_signature
from protocol.money import MeteredCharge
from protocol.wire import SignedFrame, check_frame, decode_frame

CHAIN_ID = 31_337


class Desk:
    """The service's side of one agent. `frames` in order, `charges`, `confirmations`, `nonces`, `vouchers`, `hand_overs`."""

    def __init__(self, device: bytes, meter_key: bytes) -> None:
        self.device, self.meter_key = device, meter_key
        self.former_key: bytes | None = None  # rotated away: frames it signed before still count, nothing else of it
        self.service, self.control = Signer.create(), Signer.create()
        self.escrow, self.registry = os.urandom(20), os.urandom(20)
        self.frames: list[SignedFrame] = []
        self.raw: list[bytes] = []
        self.charges: list[dict[str, Any]] = []
        self.ocmf: list[dict[str, Any]] = []
        self.vouchers: list[ChargeKeyVoucher] = []
        self.ready: list[tuple[bytes, bytes]] = []
        self.confirmations: list[SupplyConfirmation] = []
        self.hand_overs: list[tuple[HandOver, int]] = []
        self.faults: list[str] = []
        self.requests: list[int] = []  # frames in each request
        self.posted_at: list[float] = []
        self.number = 0
        self.up = True
        self.receipts = True
        self._nonces: set[bytes] = set()
        self._streams: list[queue.Queue[bytes | None]] = []
        self._lock = threading.RLock()
        self.changed = threading.Condition(self._lock)
        self._server = Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self._closing = threading.Event()
        threading.Thread(target=self._heartbeat, daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        self.up = False
        self.drop_streams()
        self._server.shutdown()
        self._server.server_close()

    # Streams

    def _heartbeat(self) -> None:
        while not self._closing.wait(0.3):
            for stream in list(self._streams):
                stream.put(b": here\n\n")

    def open_stream(self) -> queue.Queue[bytes | None]:
        events: queue.Queue[bytes | None] = queue.Queue()
        last = self.frames[-1] if self.frames else None
        have = {
            "incarnation": "0x" + (last.frame.incarnation.hex() if last else "00" * 32),
            "throughSequence": last.last_sequence if last else 0,
            "frame": "0x" + (last.digest.hex() if last else "00" * 32),
        }
        events.put(_event("have", have))
        with self.changed:
            self._streams.append(events)
            self.changed.notify_all()
        return events

    def close_stream(self, events: queue.Queue[bytes | None]) -> None:
        with self.changed:
            if events in self._streams:
                self._streams.remove(events)
            self.changed.notify_all()

    @property
    def streaming(self) -> bool:
        """Whether the agent's stream is open."""
        return bool(self._streams)

    def drop_streams(self) -> None:
        for stream in list(self._streams):
            stream.put(None)

    def say(self, name: str, document: dict[str, Any]) -> None:
        """Send an event to the agent (waits until its stream is open)."""
        self.wait(lambda: self._streams, "the agent's stream")
        for stream in list(self._streams):
            stream.put(_event(name, document))

    def authorise(self, header: str) -> None:
        kind, _, token = header.partition(" ")
        document = json.loads(base64.urlsafe_b64decode(token))
        signature = hex_bytes(document.pop("signature"), 65, "signature")
        hello = from_json(AgentHello, document)
        check_signature(digest(control_domain(CHAIN_ID, self.registry), hello), signature, self.meter_key)
        assert kind == "Wattproof"
        assert hello.device == self.device
        assert abs(hello.at_s - time.time()) < 60
        assert hello.nonce not in self._nonces
        self._nonces.add(hello.nonce)

    # Posts

    def post(self, path: str, document: dict[str, Any], headers: Any) -> dict[str, Any]:
        with self.changed:
            try:
                if path == "/api/v1/frames":
                    return self._take_frames(document)
                prefix = f"/api/v1/agents/0x{self.device.hex()}/"
                assert path.startswith(prefix), path
                self.authorise(headers["Authorization"])
                return getattr(self, "_take_" + path[len(prefix) :].replace("-", "_"))(document) or {}
            finally:
                self.changed.notify_all()

    def _take_frames(self, document: dict[str, Any]) -> dict[str, Any]:
        assert document.keys() == {"frames", "charges", "ocmf"}
        accepted = repeated = 0
        refused: list[dict[str, Any]] = []
        held = {frame.digest for frame in self.frames}
        for item in document["frames"]:
            signed = decode_frame(item)
            try:
                check_frame(signed, self.meter_key)
            except BadSignature:
                if self.former_key is None:
                    raise
                check_frame(signed, self.former_key)
            if signed.digest in held:
                repeated += 1
                continue
            before = self.frames[-1].digest if self.frames else bytes(32)
            if signed.frame.previous_frame != before:
                self.faults.append(f"frame {signed.frame.first_sequence} does not follow")
                refused.append({"frame": "0x" + signed.digest.hex(), "code": "gap", "detail": "", "transient": True})
                continue
            self._check_chain(signed)
            self.frames.append(signed)
            self.raw.append(json.dumps(item).encode())
            held.add(signed.digest)
            accepted += 1
        self.requests.append(len(document["frames"]))
        self.posted_at.append(time.monotonic())
        for charge in document["charges"]:
            self._check_charge(charge, held)
            self.charges.append(charge)
        self.ocmf += document["ocmf"]
        receipts = []
        if self.receipts and document["frames"] and not refused:
            last = decode_frame(document["frames"][-1])
            now = int(time.time())
            receipt = Receipt(self.device, last.frame.incarnation, last.last_sequence, last.digest, now, now + 300)
            receipts = [{**to_json(receipt), "signature": "0x" + self.service.sign(digest(EVIDENCE, receipt)).hex()}]
        return {"receipts": receipts, "accepted": accepted, "repeated": repeated, "refused": refused}

    def _check_chain(self, signed: SignedFrame) -> None:
        if not self.frames:
            assert signed.frame.first_sequence == 1
            return
        last = self.frames[-1].records[-1]
        assert signed.frame.first_sequence == last.sequence + 1, "sequence does not run on"
        for record in signed.records:
            assert record.start_s == last.end_s, f"record {record.sequence} starts at {record.start_s}, not {last.end_s}"
            assert record.end_s >= record.start_s
            last = record

    def _check_charge(self, document: dict[str, Any], held: set[bytes]) -> None:
        charge = from_json(MeteredCharge, {k: v for k, v in document.items() if k != "signature"})
        signature = hex_bytes(document["signature"], 65, "charge")
        address = next(v.charge_key for v in self.vouchers if _signed(charge, signature, self.escrow, v.charge_key))
        assert address
        assert charge.frame in held

    def _take_vouchers(self, document: dict[str, Any]) -> None:
        voucher = from_json(ChargeKeyVoucher, document["voucher"])
        check_signature(digest(EVIDENCE, voucher), hex_bytes(document["signature"], 65, ""), self.meter_key)
        self.vouchers.append(voucher)

    def _take_ready(self, document: dict[str, Any]) -> None:
        self.ready.append((hex_bytes(document["session"], 32, ""), hex_bytes(document["nonce"], 32, "")))

    def _take_confirmations(self, document: dict[str, Any]) -> None:
        confirmation = from_json(SupplyConfirmation, {k: v for k, v in document.items() if k != "signature"})
        domain = control_domain(CHAIN_ID, self.registry)
        check_signature(digest(domain, confirmation), hex_bytes(document["signature"], 65, ""), self.meter_key)
        self.confirmations.append(confirmation)

    def _take_hand_overs(self, document: dict[str, Any]) -> None:
        hand_over = from_json(HandOver, document["handOver"])
        check_signature(digest(EVIDENCE, hand_over), hex_bytes(document["signature"], 65, ""), self.meter_key)
        self.hand_overs.append((hand_over, len(self.frames)))

    # The control key

    def command(
        self, action: int, session: bytes = bytes(32), nonce: bytes = bytes(32), *, send: bool = True, **changes: Any
    ) -> SupplyCommand:
        """Sign and send a command under the next number."""
        self.number = changes.pop("number", self.number + 1)
        expires = changes.pop("expires_at_s", int(time.time()) + 10)
        signer = changes.pop("signer", self.control)
        command = SupplyCommand(self.device, changes.pop("channel", 1), action, session, self.number, nonce, expires)
        if send:
            self.send_command(command, signer)
        return command

    def send_command(self, command: SupplyCommand, signer: Signer | None = None) -> None:
        signature = (signer or self.control).sign(digest(control_domain(CHAIN_ID, self.registry), command))
        self.say("command", {**to_json(command), "signature": "0x" + signature.hex()})

    # Waiting

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
        """Wait until something came that makes `condition` true; returns its value."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while not (value := condition()):
                left = deadline - time.monotonic()
                assert left > 0, f"waited {seconds} s for {what}; faults: {self.faults}"
                self.changed.wait(min(left, 0.5))
            return value

    @property
    def records(self) -> list[Any]:
        """All records, in order."""
        return [record for frame in list(self.frames) for record in frame.records]


def _signed(charge: MeteredCharge, signature: bytes, escrow: bytes, key: bytes) -> bool:
    try:
        check_signature(digest(money_domain(CHAIN_ID, escrow), charge), signature, key)
    except Exception:
        return False
    return True


def _event(name: str, document: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(document)}\n\n".encode()


def _handler(desk: Desk) -> type[http.server.BaseHTTPRequestHandler]:
    """What answers the agent's calls, on the desk's behalf."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if not desk.up or len(body) < length:  # away, or the agent died while it sent
                self.close_connection = True
                return
            try:
                answer, status = desk.post(self.path, json.loads(body), self.headers), 200
            except Exception as error:
                desk.faults.append(f"{self.path}: {type(error).__name__}: {error}")
                answer, status = {"detail": str(error)}, 400
            raw = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(raw)

        def do_GET(self) -> None:
            if not desk.up:
                self.close_connection = True
                return
            desk.authorise(self.headers["Authorization"])
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            events = desk.open_stream()
            try:
                while (event := events.get(timeout=1.0) if desk.up else None) is not None:
                    self.wfile.write(event)
                    self.wfile.flush()
            except queue.Empty:
                pass
            except OSError:
                pass
            finally:
                desk.close_stream(events)
                self.close_connection = True

    return Handler


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass  # agents are killed in the middle of a request
