"""The sender: frames leave the log in order, many a request when catching up, and count as acknowledged only by a
signed receipt.

A frame's bytes are read from the log, so nothing leaves that is not synced, and it is only ever resent byte for byte.
How far the service has receipted is kept in a second log beside the receipts themselves (the agent's evidence against
the service). The sender runs in its own thread; the measuring loop never waits for it.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import structlog

from onsite.backoff import Backoff
from onsite.errors import DiskFull, LogDamaged, ServiceFault
from onsite.log import MAGIC, Position, SegmentLog, read_segment, segments
from protocol.eip712 import EVIDENCE, digest, from_json, hex_bytes
from protocol.errors import ProtocolError
from protocol.evidence import Receipt
from protocol.hashing import ZERO32
from protocol.keys import SIGNATURE_SIZE, check_signature
from protocol.wire import decode_frame

from .clock import Clock
from .config import Config
from .journal import Journal
from .service import Service
from .worker import Inbox, Worker

MAX_BATCH_FRAMES = 256
MAX_BATCH_BYTES = 4 << 20
"""A request the service can check within its answer time, and memory to hold it."""
MAX_BATCH_OCMF = 16
"""The service refuses a request with more (docs/walls.md); an entry of the log has one at most."""

logger = structlog.get_logger("wattproof.agent.uplink")


class Batch(NamedTuple):
    """Frames to send. `places[digest]` is the position in the log after that frame's entry.

    All charges go with them, though each includes those before it: the escrow may refuse the last for its time (a request to close that the
    agent had not heard of), and pays the highest that is left.
    """

    frames: list[bytes]
    charges: list[dict[str, Any]]
    ocmf: list[dict[str, Any]]
    places: dict[bytes, Position]
    hand_over: dict[str, Any] | None
    end: Position | None

    def body(self) -> bytes:
        """The request. Frames are put in as the bytes they are, never encoded again."""
        rest = orjson.dumps({"charges": self.charges, "ocmf": self.ocmf})
        return b'{"frames":[' + b",".join(self.frames) + b"]," + rest[1:]


class Acknowledged:
    """How far the service has receipted, and the receipts. Durable."""

    def __init__(self, directory: Path) -> None:
        self.position: Position | None = None
        self.receipt: dict[str, Any] | None = None
        self._log = SegmentLog(directory, self._encode)
        for _, raw in self._log.read(Position(self._log.end.segment, len(MAGIC))):
            document = orjson.loads(raw)
            self.position = Position(*document["position"]) if document["position"] else None
            self.receipt = document["receipt"]

    def record(self, position: Position, receipt: dict[str, Any]) -> None:
        self.position, self.receipt = position, receipt
        self._log.append(self._encode())

    def drop_before(self, older_than_s: float) -> None:
        self._log.drop_before(self._log.end, older_than_s)

    def close(self) -> None:
        self._log.close()

    def _encode(self) -> bytes:
        position = list(self.position) if self.position else None
        return orjson.dumps({"position": position, "receipt": self.receipt})


class Sender(Worker):
    """Sends what the log holds beyond the last receipt. `online` is whether the last request succeeded."""

    def __init__(
        self, config: Config, journal: Journal, acknowledged: Acknowledged, service: Service, clock: Clock, inbox: Inbox
    ) -> None:
        super().__init__("sender", inbox)
        self._config, self._journal, self._acknowledged = config, journal, acknowledged
        self._service, self._clock = service, clock
        receipt = acknowledged.receipt
        self.rolled_back = receipt is not None and receipt["throughSequence"] >= journal.tip.next_sequence
        """The service holds a frame of ours that this log does not: the log was rolled back."""
        self._at = None if self.rolled_back else acknowledged.position
        self._have: bytes | None = None
        self._rewind = threading.Event()
        self._stop_asked = threading.Event()
        self._hurry = threading.Event()
        self.online = True  # until a request fails

    def stop(self) -> None:
        """End after the request under way."""
        self._stop_asked.set()
        self._wake()

    def service_has(self, frame: bytes) -> None:
        """What the service says it holds last (the stream's `have`): send again from there if it is behind its
        receipts.
        """
        self._have = frame
        self._rewind.set()
        self._wake()

    def _wake(self) -> None:
        self._hurry.set()
        with self._journal.grown:
            self._journal.grown.notify_all()

    def work(self) -> None:
        backoff = Backoff()
        while not self._stop_asked.is_set():
            self._hurry.clear()
            if self._rewind.is_set():
                self._rewind.clear()
                self._seek()
            batch = self._collect()
            if batch is None:
                continue
            try:
                moved = self._send(batch)
            except ServiceFault as error:
                self.online = False
                logger.warning("not sent", frames=len(batch.frames), reason=str(error))
                moved = False
            if moved:
                backoff.reset()
            elif not self._stop_asked.is_set():
                self._hurry.wait(backoff.next_s())

    def _collect(self) -> Batch | None:
        """The next frames; waits up to a second for one when there is none."""
        batch, size = Batch([], [], [], {}, None, None), 0
        for after, entry in self._journal.entries(self._at):
            if entry.frame is not None:
                batch.frames.append(entry.frame)
                batch.places[decode_frame(entry.frame).digest] = after
                size += len(entry.frame)
                if entry.charge is not None:
                    batch.charges.append(entry.charge)
                batch.ocmf.extend(entry.ocmf)
                batch = batch._replace(hand_over=entry.hand_over)
            batch = batch._replace(end=after)
            full = len(batch.frames) >= MAX_BATCH_FRAMES or size >= MAX_BATCH_BYTES or len(batch.ocmf) >= MAX_BATCH_OCMF
            if full or batch.hand_over:
                break
        if batch.frames:
            return batch
        self._at = batch.end or self._at
        with self._journal.grown:
            if self._journal.end == (self._at or self._journal.end) and not self._rewind.is_set():
                self._journal.grown.wait(1.0)
        return None

    def _send(self, batch: Batch) -> bool:
        """One request; whether the service receipted any of it."""
        answer = self._service.send_frames(batch.body())
        self.online = True
        for refused in answer.get("refused") or []:
            logger.error("refused by the service", **{str(k): str(v) for k, v in dict(refused).items()})
            if refused.get("code") == "gap" and self._have is not None:
                self._rewind.set()
        believed = [found for document in answer.get("receipts") or [] if (found := self._believe(document, batch))]
        if not believed:
            return False
        place, document = max(believed, key=lambda found: found[0])
        if batch.hand_over is not None and place == batch.end:
            self._service.send("hand-overs", batch.hand_over)  # before any frame of the new meter; a repeat changes nothing
        self._at = place
        if self._acknowledged.position is None or place > self._acknowledged.position:
            try:
                self._acknowledged.record(place, document)
            except DiskFull as error:  # then these frames are sent again after a restart, which changes nothing
                logger.warning("receipt not kept", reason=str(error))
        return True

    def _believe(self, document: Any, batch: Batch) -> tuple[Position, dict[str, Any]] | None:
        """The place a receipt is for, if the pinned key signed it for a frame of this batch."""
        try:
            fields = {name: value for name, value in document.items() if name != "signature"}
            receipt = from_json(Receipt, fields)
            signature = hex_bytes(document.get("signature"), SIGNATURE_SIZE, "Receipt.signature")
            check_signature(digest(EVIDENCE, receipt), signature, self._config.service_key)
        except (ProtocolError, AttributeError) as error:
            logger.error("receipt not believed: not by the pinned service key", reason=str(error))
            return None
        place = batch.places.get(receipt.frame)
        if place is None or receipt.device != self._config.device:
            return None
        if not self._clock.heard_trusted(receipt.received_at_s):
            logger.warning("clock disagrees with the service", service_s=receipt.received_at_s)
        return place, document

    def _seek(self) -> None:
        """Go to the place after the frame the service holds last."""
        have = self._have
        receipt = self._acknowledged.receipt
        if receipt is not None and have is not None and receipt["frame"] == "0x" + have.hex():
            self._at = self._acknowledged.position
            return
        if have == ZERO32:
            self._at = None
            return
        for after, entry in self._journal.entries(None):
            if entry.frame is not None and decode_frame(entry.frame).digest == have:
                self._at = after
                return
        self.rolled_back = True
        logger.error("the service holds a later frame than this log", frame="0x" + (have or b"").hex())


def acknowledged_in(directory: Path) -> dict[str, Any] | None:
    """The last acknowledgement, read without taking the log (for `show`)."""
    last = None
    for number in segments(directory)[-1:]:
        try:
            for _, raw in read_segment(directory, number, len(MAGIC), None, torn_ends=True):
                last = orjson.loads(raw)
        except LogDamaged:
            break
    return last
