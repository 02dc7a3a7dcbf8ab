"""The measuring loop: one thread that samples, records, listens and switches, and never waits for the network.

    events from the stream ──► inbox ─┐
    looks at meter and relay ────────►│ loop ──► log (synced) ──► sender ──► service
                                      └──► courier (confirmations, nonces, vouchers) ──► service

Each turn handles one message; the guard then says whether supply must end now or at a moment to come, and the loop
wakes at that moment.
"""

from __future__ import annotations

import queue
import time
from pathlib import Path
from typing import Any

import structlog

from onsite.errors import DiskFull
from protocol.eip712 import hex_bytes
from protocol.errors import ProtocolError
from protocol.evidence import Reason
from protocol.keys import Signer

from .clock import NANO, Clock
from .conductor import Conductor
from .config import Config
from .confirmations import Notary
from .disk import Disk
from .errors import Refused
from .guard import Guard
from .journal import Journal
from .keystore import ChargeKeys
from .line import LineError
from .metering import Metering
from .point import Looker, Seen
from .service import Service
from .state import Phase, State
from .stream import Courier, Stream
from .supply import Supply
from .uplink import Acknowledged, Sender
from .worker import MAX_INBOX, Inbox, Message

TIDY_EVERY_NS = 3_600 * NANO
PATIENCE_NS = NANO // 4
"""The guard looks at the money at least this often, also while the meter keeps us waiting."""
ROUND_UP_NS = 3 * NANO // 10
"""A sample takes up to two tenths of a second: one that would end after a record is due is not begun."""
STOP_S = 2.0
"""How long a stopping agent waits for what is being sent; the rest is sent when it runs again."""

logger = structlog.get_logger("wattproof.agent")


class Agent:
    """One point, from its state folder. `run` returns after `stop`."""

    def __init__(self, directory: Path, config: Config, signer: Signer, charge_keys: ChargeKeys, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock or Clock()
        self._journal = Journal(directory / "log", State(control_key=config.control_key, enrolled_key=config.control_key))
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
        self._disk = Disk(directory, config.low_disk_bytes, self._clock)
        self._guard = Guard(config, self._clock, self._metering, self._disk, self._stream.silent_s)
        self._looker = Looker(self._metering.point, self._inbox)
        self._stopping = False
        self._recorded = False  # whether this run has made a record yet
        self._look_ns = self._asked_ns = 0  # when the next look is due, when the last was asked for
        self._tidy_ns = 0
        self._reason = Reason.PERIODIC
        self._cut_at_ns: int | None = None

    def stop(self) -> None:
        """Ask `run` to end (from a signal handler or another thread)."""
        self._stopping = True
        self._inbox.put(Message("stop"))

    def run(self) -> None:
        """Until stopped. Raises what broke (`LogFailed`: the disk); supply is disconnected then."""
        self._conductor.begin()
        for thread in (self._sender, self._stream, self._courier, self._looker):
            thread.start()
        try:
            while not self._stopping:
                self._turn()
            self._conductor_stops()
        except BaseException:
            self._metering.point.disconnect()  # whatever broke: an agent that ends must not leave supply on
            raise
        finally:
            self._stream.stop()
            self._sender.stop()
            self._sender.join(STOP_S)
            self._service.close()
            self._metering.point.close()
            self._journal.close()
            self._acknowledged.close()

    def _turn(self) -> None:
        """One message, a look asked for when it is due, and the guard."""
        message = self._next_message()
        try:
            if message is not None:
                self._handle(message)
            self._watch()
        except DiskFull as error:  # nothing of the step happened, but that a contact may have opened
            self._disk.full(error)
            self._metering.low_disk = True
        if not self._looker.busy and self._clock.monotonic_ns() >= self._look_ns:
            self._care()
            self._ask()

    def _care(self) -> None:
        """What needs a look from time to time."""
        self._disk.look()
        self._metering.low_disk = self._disk.low
        if self._sender.rolled_back:
            self._metering.rolled_back, self._sender.rolled_back = True, False
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._tidy_ns:
            self._tidy_ns = now_ns + TIDY_EVERY_NS
            older_than_s = time.time() - self._config.keep_acknowledged_days * 86_400
            if self._acknowledged.position is not None:
                self._journal.drop_before(self._acknowledged.position, older_than_s)
            self._acknowledged.drop_before(older_than_s)

    def _next_message(self) -> Message | None:
        now_ns = self._clock.monotonic_ns()
        until_ns = now_ns + PATIENCE_NS
        if not self._looker.busy:
            until_ns = min(until_ns, self._look_ns)
        if self._cut_at_ns is not None:
            until_ns = min(until_ns, self._cut_at_ns)
        try:
            return self._inbox.get(timeout=max(0.0, (until_ns - now_ns) / NANO))
        except queue.Empty:
            return None

    def _ask(self) -> None:
        """Ask for the look that is due: a record's reading, or a sample."""
        self._asked_ns = self._clock.monotonic_ns()
        due_s, self._reason = self._metering.next_record()
        first = not self._recorded
        self._looker.ask(record=first or self._clock.now_s() >= due_s, whole=first)

    def _looked(self, seen: Seen) -> None:
        """What the looker saw; then let happen what must happen by itself."""
        self._looker.busy = False
        done = False
        try:
            if seen.look is None:
                logger.warning("line", reason=seen.error)
            newest = seen.generation == self._metering.point.generation  # the loop has not used the lines itself meanwhile
            if newest and seen.look is None:
                self._metering.point.missed(seen.auxiliary_open)
            elif newest and seen.look is not None:
                self._metering.took(seen.look, self._reason)
                self._recorded = self._recorded or seen.look.reading is not None
            self._conductor.settle()
            done = seen.look is not None
        except LineError as error:
            logger.warning("line", reason=str(error))
        finally:
            ended_ns = self._clock.monotonic_ns()
            self._metering.cycle_ns = max(ended_ns - self._asked_ns, self._metering.cycle_ns * 9 // 10)
            self._look_ns = self._next_look_ns(ended_ns, done)

    def _next_look_ns(self, ended_ns: int, done: bool) -> int:
        """The next sample; or, if a record is due by then, its very moment: it is dated to the second it is asked
        for.
        """
        sample_ns = max(self._asked_ns + self._config.sample_interval_s * NANO, ended_ns)
        due_s, _ = self._metering.next_record()
        due_ns = due_s * NANO - self._clock.now_ns() + self._clock.monotonic_ns()
        return max(ended_ns, due_ns) if done and due_ns <= sample_ns + ROUND_UP_NS else sample_ns

    def _watch(self) -> None:
        """Whether supply must end."""
        self._cut_at_ns = None
        self._clock.steady(self._metering.in_session)
        if self._conductor.phase is not Phase.SUPPLYING:
            self._guard.rest()
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
                case "rotation":
                    self._conductor.rotate(document)
                case "payment":
                    self._conductor.payment(document)
                case "close":
                    self._conductor.close(hex_bytes(document.get("session"), 32, "close.session"))
                case "head":
                    self._head(document)
                case "looked":
                    self._looked(document)
                case "connected":
                    self._courier.hurry()
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
