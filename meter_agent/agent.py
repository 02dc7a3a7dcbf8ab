"""The measuring loop: one thread that samples, records, listens and switches, and never waits for the network.

    events from the stream ──► inbox ─┐
    meter, relay (serial) ───────────►│ loop ──► log (synced) ──► sender ──► service
                                      └──► courier (confirmations, nonces, vouchers) ──► service

Each turn handles one event or one look at the point; the guard then says whether supply must end now or at a moment
before the next look, and the loop wakes at that moment.
"""

from __future__ import annotations

import queue
import time
from pathlib import Path
from typing import Any

import structlog

from protocol.eip712 import hex_bytes
from protocol.errors import ProtocolError
from protocol.evidence import Reason
from protocol.keys import Signer

from .clock import NANO, Clock
from .conductor import Conductor
from .config import Config
from .confirmations import Notary
from .errors import Refused
from .guard import Guard
from .journal import Journal
from .keystore import ChargeKeys
from .line import LineError
from .metering import Metering
from .service import Service
from .state import Phase, State
from .stream import Courier, Stream
from .supply import Supply
from .uplink import Acknowledged, Sender
from .worker import MAX_INBOX, Inbox, Message

STOP_S = 2.0
"""How long a stopping agent waits for what is being sent; the rest is sent when it runs again."""

logger = structlog.get_logger("wattproof.agent")


class Agent:
    """One point, from its state folder. `run` returns after `stop`."""

    def __init__(self, directory: Path, config: Config, signer: Signer, charge_keys: ChargeKeys, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock or Clock()
        self._journal = Journal(directory / "log", State(control_key=config.control_key))
        if self._journal.cut_bytes:
            logger.warning("cut off a torn end of the log, as a crash leaves it", bytes=self._journal.cut_bytes)
        self._clock.not_before(self._journal.tip.end_s)
        self._inbox: Inbox = queue.Queue(MAX_INBOX)
        self._acknowledged = Acknowledged(directory / "receipts")
        self._service = Service(config, signer, self._clock)
        self._sender = Sender(config, self._journal, self._acknowledged, self._service, self._clock, self._inbox)
        self._stream = Stream(self._service, self._inbox, self._sender, self._clock)
        self._courier = Courier(self._service, self._inbox)
        self._metering = Metering(config, self._clock, self._journal, signer, charge_keys, lambda: self._sender.online)
        notary = Notary(config, signer)
        self._supply = Supply(self._clock, self._journal, self._metering, notary, self._courier)
        self._conductor = Conductor(
            config, self._clock, self._journal, self._metering, self._supply, notary, signer, charge_keys, self._courier,
            directory / "lock-out",
        )  # fmt: skip
        self._guard = Guard(config, self._clock, self._journal, self._metering, self._stream.silent_s)
        self._stopping = False
        self._look_ns = 0  # when the next look is due
        self._cut_at_ns: int | None = None
        self._first_recorded = False

    def stop(self) -> None:
        """Ask `run` to end (from a signal handler or another thread)."""
        self._stopping = True
        self._inbox.put(Message("stop"))

    def run(self) -> None:
        """Until stopped. Raises what broke (`LogFailed`: the disk); supply is disconnected then."""
        self._conductor.begin()
        for thread in (self._sender, self._stream, self._courier):
            thread.start()
        try:
            while not self._stopping:
                self._turn()
            self._conductor_stops()
        except BaseException:
            self._metering.point.disconnect()  # whatever broke: an agent that ends must not leave supply on
            raise
        finally:
            self._sender.stop()
            self._sender.join(STOP_S)
            self._service.close()
            self._metering.point.close()
            self._journal.close()
            self._acknowledged.close()

    def _turn(self) -> None:
        """One event, or one look."""
        message = self._next_message()
        if message is not None:
            self._handle(message)
        elif self._clock.monotonic_ns() >= self._look_ns:
            self._look()
        self._watch()

    def _next_message(self) -> Message | None:
        until_ns = self._look_ns if self._cut_at_ns is None else min(self._look_ns, self._cut_at_ns)
        wait_s = (until_ns - self._clock.monotonic_ns()) / 1e9
        try:
            return self._inbox.get(timeout=wait_s) if wait_s > 0 else self._inbox.get_nowait()
        except queue.Empty:
            return None

    def _look(self) -> None:
        """Sample, record if one is due, and let what must happen by itself happen."""
        started_ns = self._clock.monotonic_ns()
        try:
            due_s, reason = self._metering.next_record()
            if not self._first_recorded:
                self._metering.record(Reason.PERIODIC, whole=True)
                self._first_recorded = True
            elif self._clock.now_s() >= due_s:
                self._metering.record(reason)
            self._metering.observe()
        except LineError as error:
            logger.warning("line", reason=str(error))
        if self._first_recorded or self._conductor.phase is not None:
            self._conductor.settle()
        ended_ns = self._clock.monotonic_ns()
        self._guard.cycle_ns = max(ended_ns - started_ns, self._guard.cycle_ns * 9 // 10)
        self._look_ns = self._next_look_ns(started_ns, ended_ns)

    def _next_look_ns(self, started_ns: int, ended_ns: int) -> int:
        """The next sample, or the moment a record is due if that comes first (dated to the second it is asked for)."""
        sample_ns = max(started_ns + self._config.sample_interval_s * NANO, ended_ns)
        due_s, _ = self._metering.next_record()
        due_ns = due_s * NANO - self._clock.now_ns() + self._clock.monotonic_ns()
        return max(ended_ns, min(sample_ns, due_ns))

    def _watch(self) -> None:
        """Whether supply must end."""
        self._cut_at_ns = None
        if self._conductor.phase is not Phase.SUPPLYING:
            return
        decision = self._guard.decide()
        self._cut_at_ns = decision.cut_at_ns
        if decision.cause is not None:
            self._supply.end(decision.cause, decision.why)

    def _handle(self, message: Message) -> None:
        """One event. What is refused is logged with its reason and changes nothing."""
        document: Any = message.document
        try:
            match message.name:
                case "grant":
                    self._conductor.grant(document)
                case "command":
                    self._conductor.command(document)
                case "payment":
                    self._conductor.payment(document)
                case "close":
                    self._conductor.close(hex_bytes(document.get("session"), 32, "close.session"))
                case "head":
                    self._head(document)
                case "connected":
                    self._conductor.connected()
                case "failed":
                    raise document
                case "posted":
                    self._conductor.posted(document["key"])
        except Refused as refusal:
            logger.warning("refused", event_name=message.name, code=refusal.code, reason=str(refusal))
        except ProtocolError as error:
            logger.warning("not understood", event_name=message.name, reason=str(error))

    def _head(self, document: dict[str, Any]) -> None:
        head = hex_bytes(document.get("head"), 32, "head.head")
        time_s = document.get("timeS")
        if type(time_s) is int:
            self._clock.heard_block(time_s)
        self._metering.head_seen = head

    def _conductor_stops(self) -> None:
        """An agent that is not running cannot keep a limit: supply is disconnected; the session can go on when it
        runs again.
        """
        if self._conductor.phase is Phase.SUPPLYING:
            self._supply.suspend()
        deadline = time.monotonic() + STOP_S
        while time.monotonic() < deadline and self._courier.busy:
            message = self._next_message()
            if message is not None and message.name == "posted":
                self._handle(message)
            time.sleep(0.02)
        self._journal.settle()
