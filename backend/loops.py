"""The background loops, each under a fenced lease: read the chain, send, close epochs, settle, look after supply, tell people, reconcile.

A loop that fails says so (log, alarm, metric) and goes on; a transient failure of the node is not an alarm by itself. All stop within a
round when the service stops, and give their leases up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import structlog

from chain.client import ChainClient
from chain.errors import ChainError, Transient
from chain.outbox import Sender
from chain.transactions import TransactionSigner
from protocol.keys import Signer

from .context import Service
from .errors import LeaseLost, ServiceError
from .evidence import epochs
from .hexes import to_hex
from .metrics import LOOP_ROUNDS
from .models import HOUSE
from .money import reconcile, settlement
from .onchain.chainbooks import ChainBooks
from .onchain.outbox import DatabaseStore, Writing
from .people import notify
from .people.alarms import AlarmKind, clear_alarm, raise_alarm
from .rails.rounds import Rounds
from .sessions import guard
from .store.facts import RESTORED, recall
from .store.leases import LeaseHolder, release_all
from .supply.notices import Notices
from .tasks import following as tasks
from .upkeep import housekeeping, restoring

log = structlog.get_logger()
FAILED_PAUSE_S = 2.0
LEASE_PAUSE_S = 3.0
STOP_WITHIN_S = 10.0
STALLED_ROUNDS = 5
"""A loop that has not finished a round for so many of its pauses (and at least 30 s) is not ready."""

Round = Callable[[Writing], bool]
"""One round; True: there is more to do at once."""


class LoopState(NamedTuple):
    """How a loop does, for /readyz."""

    ran_at: float
    problem: str


class Loop(threading.Thread):
    """One loop: takes its lease, runs rounds, sleeps or is woken."""

    def __init__(self, service: Service, name: str, pause_s: float, run_round: Round, *, acts: bool) -> None:
        super().__init__(name=f"loop {name}", daemon=True)
        self.loop_name = name
        self.pause_s = pause_s
        self.state = LoopState(time.monotonic(), "")
        self._service, self._round, self._acts = service, run_round, acts
        self._lease = LeaseHolder(service, name)
        self._woken = service.hub.loop_event(name)

    def run(self) -> None:
        stopping = self._service.hub.stopping
        while not stopping.is_set():
            pause = self._once()
            self._woken.wait(pause)
            self._woken.clear()
        try:
            self._lease.give_up()
        except Exception as error:
            log.warning("lease not given up", loop=self.loop_name, error=str(error))

    def _once(self) -> float:
        """One round. Returns how long to wait for the next."""
        try:
            if not self._lease.take():
                self.state = LoopState(time.monotonic(), "")  # another process does it
                return LEASE_PAUSE_S
            if self._acts and self._catching_up():
                self.state = LoopState(time.monotonic(), "waits: a restored backup has not caught up yet")
                return self.pause_s
            more = self._round(self._lease.writing)
        except LeaseLost:
            LOOP_ROUNDS.labels(self.loop_name, "lease lost").inc()
            return LEASE_PAUSE_S
        except Exception as error:
            return self._failed(error)
        LOOP_ROUNDS.labels(self.loop_name, "done").inc()
        if self.state.problem:
            self._cleared()
        self.state = LoopState(time.monotonic(), "")
        return 0 if more else self.pause_s

    def _catching_up(self) -> bool:
        with self._service.db.reading() as db:
            return recall(db, RESTORED) is not None

    def _failed(self, error: Exception) -> float:
        LOOP_ROUNDS.labels(self.loop_name, "failed").inc()
        transient = isinstance(error, Transient) or (isinstance(error, ServiceError) and error.transient)
        known = isinstance(error, ChainError | ServiceError)
        log.log(30 if known else 40, "loop round failed", loop=self.loop_name, error=str(error), exc_info=None if known else error)
        if not transient and not self._service.hub.stopping.is_set():
            self._alarm(str(error))
        self.state = LoopState(self.state.ran_at, str(error) or type(error).__name__)
        return FAILED_PAUSE_S

    def _alarm(self, detail: str) -> None:
        try:
            with self._service.db.writing() as db:
                raise_alarm(db, self._service, HOUSE, AlarmKind.LOOP_FAILED, f"loop {self.loop_name}", detail)
        except Exception as error:  # the database itself may be what failed
            log.error("alarm not kept", loop=self.loop_name, error=str(error))

    def _cleared(self) -> None:
        with self._service.db.writing() as db:
            clear_alarm(db, self._service, HOUSE, AlarmKind.LOOP_FAILED, f"loop {self.loop_name}")


class Loops:
    """All loops of a process."""

    def __init__(self, service: Service, client: ChainClient) -> None:
        settings = service.settings
        books = ChainBooks(service, client)
        poll = settings.chain.poll_seconds
        self._service = service
        self.loops = [
            Loop(service, "chain", poll, books.round, acts=False),
            Loop(service, "epochs", min(1.0, settings.settlement.epoch_seconds / 4), _always(service, epochs.round_), acts=True),
            Loop(service, "settlement", 1.0, _always(service, settlement.round_), acts=True),
            Loop(service, "supply", 1.0, _always(service, guard.round_), acts=True),
            Loop(service, "tasks", 5.0, _always(service, tasks.round_), acts=True),
            Loop(service, "alarms", 5.0, _always(service, notify.round_), acts=False),
            Loop(service, "housekeeping", 60.0, _always(service, housekeeping.round_), acts=False),
            Loop(service, "restore", 1.0, _always(service, restoring.round_), acts=False),
            Loop(service, "reconcile", settings.settlement.reconcile_seconds, _reconcile(service, client), acts=True),
        ]
        if service.rails:
            self.loops.append(Loop(service, "rails", 1.0, Rounds(service, client).round, acts=True))
        keys = service.keys.payees | ({service.till.address: service.till} if service.rails else {})
        self.loops += [Loop(service, f"sender {to_hex(a)}", poll, _sending(service, client, key), acts=True) for a, key in keys.items()]

    def start(self) -> None:
        release_all(self._service)
        for loop in self.loops:
            loop.start()
        if not self._service.db.is_sqlite:
            Notices(self._service).start()

    def stop(self) -> None:
        """Ask all to stop and wait for their rounds to end."""
        self._service.hub.stop()
        deadline = time.monotonic() + STOP_WITHIN_S
        for loop in self.loops:
            if loop.is_alive():
                loop.join(max(0.1, deadline - time.monotonic()))

    def problems(self) -> dict[str, str]:
        """Loop name → why it is not well; empty: well."""
        now = time.monotonic()
        found = {}
        for loop in self.loops:
            stalled = now - loop.state.ran_at > max(30.0, STALLED_ROUNDS * loop.pause_s)
            found[loop.loop_name] = loop.state.problem or ("no round finished lately" if stalled else "")
        return found


def _always(service: Service, round_: Callable[[Service, Writing], None]) -> Round:
    def run(writing: Writing) -> bool:
        round_(service, writing)
        return False

    return run


def _reconcile(service: Service, client: ChainClient) -> Round:
    def run(writing: Writing) -> bool:
        reconcile.round_(service, client, writing)
        return False

    return run


def _sending(service: Service, client: ChainClient, key: Signer) -> Round:
    """One sender a key, made once the lease is held; the store refuses to save for a process that lost it."""
    place = f"sender {to_hex(key.address)}"
    senders: dict[str, Sender] = {}
    troubles: dict[str, tuple[str, ...]] = {"said": ("not looked yet",)}

    def run(writing: Writing) -> bool:
        if "sender" not in senders:
            senders["sender"] = Sender(client, TransactionSigner(client, key.secret), DatabaseStore(service, writing))
        report = senders["sender"].step()
        if report.troubles != troubles["said"]:
            with writing() as db:
                if report.troubles:
                    raise_alarm(db, service, HOUSE, AlarmKind.TRANSACTION_STUCK, place, "; ".join(report.troubles))
                else:
                    clear_alarm(db, service, HOUSE, AlarmKind.TRANSACTION_STUCK, place)
            troubles["said"] = report.troubles
        return report.changed

    return run
