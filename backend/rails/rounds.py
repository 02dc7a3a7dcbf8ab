"""The loop over all rails: read what moved, mint what is paid, give back what is burned. Woken by webhooks, and by time without them.

A rail that is away holds up itself only. Every round begins from the rows: there is nothing to remember between two.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from chain.client import ChainClient

from ..context import Service
from ..errors import LeaseLost, ServiceError
from ..models import HOUSE, Account, Deposit
from ..money.ledger import Kind, Ledger
from ..onchain.outbox import Writing
from ..people.alarms import AlarmKind, clear_alarm, open_alarm, raise_alarm
from ..providers.accounts import RailAccount
from ..store.facts import chain_status, recall, remember
from . import deposits, hooks, movements, payouts
from .guards import Guard, held_last
from .rows import In, deposits_in

log = structlog.get_logger()


class Rounds:
    """One process's rounds."""

    def __init__(self, service: Service, client: ChainClient) -> None:
        self._service, self._client = service, client
        self._read_at: dict[str, float] = {}
        self._heard_s: dict[str, int] = {}

    def round(self, writing: Writing) -> bool:
        """One round over everything that waits. What fails holds up only itself; the first failure is raised when all is done."""
        service, failed = self._service, list[Exception]()
        for account in service.rails.values():
            try:
                self._rail(account, writing)
                self._well(account, writing)
            except LeaseLost:
                raise
            except Exception as error:
                detail = error.detail if isinstance(error, ServiceError) else str(error) or type(error).__name__
                with writing() as db:
                    raise_alarm(db, service, HOUSE, AlarmKind.LOOP_FAILED, f"rail {account.name}", detail)
                failed.append(error)
        steps: list[Callable[[], None]] = [
            lambda: deposits.refused_steps(service, writing),
            lambda: payouts.refused_steps(service, writing),
            lambda: deposits.mint_due(service, self._client, writing),
            lambda: payouts.start_due(service, self._client, writing),
            lambda: payouts.refund_due(service, writing),
        ]
        for step in steps if self._knows_the_chain() else []:
            try:
                step()
            except LeaseLost:
                raise
            except Exception as error:
                failed.append(error)
        for other in failed[1:]:
            log.warning("failed in the same round", error=str(other) or type(other).__name__)
        if failed:
            raise failed[0]
        return False

    def _knows_the_chain(self) -> bool:
        """Nothing is sent to the chain before what is on it is known: a mint or a burning may be there already."""
        with self._service.db.reading() as db:
            status = chain_status(db)
        return status is not None and status.caught_up

    def _rail(self, account: RailAccount, writing: Writing) -> None:
        service = self._service
        with service.db.reading() as db:
            new = [r.id for r in held_last(deposits_in(db, In.CREATING), lambda r: r.why) if r.rail == account.name]
            again = list(db.scalars(select(Deposit.id).where(Deposit.rail == account.name, Deposit.look_again.is_(True)).limit(1_000)))
            now = service.now_s()
            late = [r.id for r in deposits_in(db, In.AWAITING) if r.rail == account.name and r.expires_at_s and r.expires_at_s < now]
            heard_s = hooks.newest_event_s(db, account.name)
            since_s = movements.since_s(db, account.name)
        making, looking = Guard(), Guard()
        for deposit_id in new:
            if not making.is_away(account.name):
                with making.asking(account.name, partial(deposits.hold, service, writing, deposit_id)):
                    deposits.create(service, account, writing, deposit_id)
        hinted = account.name in service.caches.get("rail-hints", set()) or heard_s != self._heard_s.get(account.name)
        due = time.monotonic() >= self._read_at.get(account.name, 0) + account.settings.poll_seconds
        if due:  # an event about its decision may have been lost
            again += self._disputed(account)
        if hinted or due or again:
            service.caches.get("rail-hints", set()).discard(account.name)
            self._heard_s[account.name] = heard_s
            self._read_at.pop(account.name, None)  # fails it, the next round reads
            self._read(account, writing, since_s)
            self._read_at[account.name] = time.monotonic()
        asked = list({*again, *late})
        random.shuffle(asked)  # no few that the rail fails for come first each time
        for deposit_id in asked:
            if not looking.is_away(account.name):
                with looking.asking(account.name, partial(deposits.hold, service, writing, deposit_id)):
                    deposits.look_again(service, account, writing, deposit_id)
        making.report()
        looking.report()

    def _disputed(self, account: RailAccount) -> list[bytes]:
        with self._service.db.reading() as db:
            query = select(Deposit.id).where(Deposit.rail == account.name, Deposit.dispute == "open").limit(1_000)
            return list(db.scalars(query))

    def _read(self, account: RailAccount, writing: Writing, since_s: int) -> None:
        for movement in account.rail.movements(since_s):
            with writing() as db:
                if movements.apply(db, self._service, account, movement):
                    log.info("rail movement", rail=account.name, movement=movement.movement_id, kind=movement.kind.value)
        balance = account.micro(account.rail.balance())
        with writing() as db:
            said = {"balanceMicro": balance, "floatMicro": float_micro(db, account), "atS": self._service.now_s()}
            before = recall(db, fact_of(account.name))
            # Something may have moved between the two answers: only a difference that stands at two readings is one.
            stands = said["balanceMicro"] - said["floatMicro"]
            was = 0 if before is None else before["seenMicro"]
            remember(db, fact_of(account.name), said | {"seenMicro": stands, "differenceMicro": stands if stands == was else 0})

    def _well(self, account: RailAccount, writing: Writing) -> None:
        place = f"rail {account.name}"
        with self._service.db.reading() as db:
            if open_alarm(db, HOUSE, AlarmKind.LOOP_FAILED, place) is None:
                return
        with writing() as db:
            clear_alarm(db, self._service, HOUSE, AlarmKind.LOOP_FAILED, place)


def fact_of(rail: str) -> str:
    return f"rail-{rail}"


def float_micro(db: Session, account: RailAccount) -> int:
    """What the books say that the provider holds."""
    return -Ledger(db, HOUSE, 0).balance(Kind.FLOAT, account.reference)


def total(db: Session, kind: Kind) -> int:
    """Credits minus debits over all accounts of a kind, of the installation's book."""
    query = select(func.coalesce(func.sum(Account.credits_posted - Account.debits_posted), 0))
    return int(db.scalar(query.where(Account.operator_id == HOUSE, Account.kind == kind)) or 0)


def last_reading(db: Session, rail: str) -> dict[str, Any] | None:
    """What the rail said last: balanceMicro, floatMicro (of the books then), differenceMicro, atS."""
    found: dict[str, Any] | None = recall(db, fact_of(rail))
    return found
