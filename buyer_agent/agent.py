"""The buyer: one loop that chooses, opens, pays, tops up, switches and stops, from the state in its journal.

Each turn does what the state asks for next and can be cut off anywhere: what was signed is in the journal before it leaves, orders are
repeated byte for byte, and a session found there is gone on with. Nothing here waits for a person.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from onsite.backoff import Backoff
from onsite.errors import ConfigError, ServiceFault, ServiceRefused
from protocol.errors import ProtocolError
from protocol.keys import Signer
from protocol.wallet import Policy

from .errors import Refused
from .journal import Journal
from .market import Market, read_market
from .notes import Notes
from .orders import Orders, Standing
from .own_meter import Own, OwnMeter, Series
from .purchase import Purchase
from .service import Service, hexed
from .settings import Settings
from .shop import Shop

TURN_S = 0.1
STOP_WITHIN_S = 30.0
"""A buyer told to end asks its session to close and pays the last frame; a service that is away is not waited for longer."""

logger = structlog.get_logger("wattproof.buyer")


class Buyer:
    """One device's buyer. `run` returns when it was told to stop and its session has ended (or the patience with that has)."""

    def __init__(self, directory: Path, settings: Settings, policy: Policy | None, signer: Signer) -> None:
        self.settings, self.policy, self.signer = settings, policy, signer
        self.journal = Journal(directory / "journal")
        self.service = Service(settings.service)
        self.orders = Orders(settings, policy, signer)
        self.notes = Notes(self.service, self.orders, settings.wallet)
        self.series = Series()
        self._own_meter: OwnMeter | None = None
        self._readings: queue.SimpleQueue[Own] = queue.SimpleQueue()
        if settings.own_meter is not None:
            self._own_meter = OwnMeter(settings.own_meter.url, settings.own_meter.initial_baud, self._readings.put)
        self.shop = Shop(self)
        self.purchase: Purchase | None = None
        self.market = Market((), ())
        self.standing: Standing | None = None
        self._stopping = threading.Event()
        self._stop_by: float | None = None
        self._looked = 0.0
        self._backoff = Backoff(most_s=float(max(settings.poll_s, 10)))
        self._pause_until = 0.0

    def stop(self) -> None:
        """End the session, pay what it used, and return from `run`."""
        self._stopping.set()

    def forgive(self) -> None:
        """The owner has looked into a disagreement: buy again."""
        state = self.journal.state
        if state.disputed:
            self.journal.save(state.model_copy(update={"disputed": ""}), "forgiven", why=state.disputed)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def run(self) -> None:
        """Buy until told to stop."""
        self._check_service()
        if self._own_meter is not None:
            self._own_meter.start()
        try:
            if self.journal.state.live is not None:
                self.purchase = Purchase.resumed(self)
            while not self._over():
                self._turn()
        finally:
            if self.purchase is not None:
                self.purchase.close()
            if self._own_meter is not None:
                self._own_meter.stop()
            self.service.close()
            self.journal.close()

    def _check_service(self) -> None:
        """The service is the pinned one, on the chain and escrow of the settings; waits while it is away."""
        while not self.stopping:
            try:
                found = self.service.described()
            except ServiceFault as error:
                logger.warning("service not reached", reason=str(error))
                self._stopping.wait(self._backoff.next_s())
                continue
            pinned = {
                "serviceKey": hexed(self.settings.service_key), "chainId": self.settings.chain_id, "escrow": hexed(self.settings.escrow),
            }  # fmt: skip
            for name, value in pinned.items():
                said = found.get(name)
                if (said.lower() if isinstance(said, str) else said) != value:
                    raise ConfigError(f"{self.settings.service} says {name} is {said}, buyer.toml says {value}: is this the right service?")
            self._backoff.reset()
            return

    def _over(self) -> bool:
        if not self.stopping:
            return False
        self._stop_by = self._stop_by or time.monotonic() + STOP_WITHIN_S
        if self.purchase is not None and time.monotonic() > self._stop_by:
            logger.warning("not waiting any longer for the session to end; it is gone on with at the next start")
            return True
        return self.purchase is None

    def _turn(self) -> None:
        """One round: what arrived, then what is due."""
        self._hear_own_meter()
        if self.purchase is not None:
            self.purchase.hear(TURN_S)
        else:
            self._stopping.wait(TURN_S)
        if time.monotonic() < self._pause_until:
            return
        self.attempt(self._act)

    def attempt(self, act: Callable[[], None]) -> None:
        """Do what may fail for a while; then pause, longer each time."""
        try:
            act()
            self._backoff.reset()
        except (ServiceFault, Refused, ProtocolError) as error:
            pause_s = self._backoff.next_s()
            logger.warning("not yet", reason=str(error), next_attempt_in_s=round(pause_s, 1))
            self._pause_until = time.monotonic() + pause_s

    def _act(self) -> None:
        if self.purchase is not None:
            self.purchase.pay()
        if time.monotonic() - self._looked >= self.settings.poll_s or self.shop.due(now_s()):
            self._look()
        if self.purchase is not None:
            self.purchase.act()
            if self.purchase.finished:
                self.purchase.close()
                self.purchase = None
        elif not self.stopping and not self.journal.state.disputed:
            self.purchase = self.shop.buy()
        self.notes.send()

    def _look(self) -> None:
        """Offers and the wallet as they stand now."""
        if self.settings.provider_book is not None:
            self.market = read_market(self.service.offers(self.settings.point), self.settings, now_s())
        if self.settings.wallet is not None:
            try:
                self.standing = Standing.of(self.service.wallet(self.settings.wallet))
            except ServiceRefused as error:
                logger.warning("wallet not shown", reason=str(error))
            except ValueError as error:
                raise Refused("wallet", f"the service answers oddly: {error}") from None
        self._looked = time.monotonic()
        self.shop.looked(now_s())
        self.journal.tidy()

    def _hear_own_meter(self) -> None:
        while True:
            try:
                self.series.add(self._readings.get_nowait())
            except queue.Empty:
                return


def now_s() -> int:
    """UTC seconds. The buyer's clock decides what is paid (nothing from the future), never what was used."""
    return int(time.time())
