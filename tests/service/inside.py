"""The service's own parts, in this process, on a real database; the chain's events are given by hand, as the reader keeps them.

For what needs no chain, no HTTP and many cases. The whole, with a chain, is in `world`.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session as Db

from backend.context import Service
from backend.devices.points import NewPoint, add_voucher, create_point, get_device, put_tariff
from backend.devices.policies import parse_policy
from backend.evidence.ingest import Tally, decode_frames, ingest, parse_upload
from backend.models import Alarm, Command, SessionRow
from backend.money.ledger import assert_balanced
from backend.onchain import chainbooks
from backend.sessions.life import confirm, get_session, ready
from backend.sessions.quotes import Wish, quote
from backend.sessions.signed import open_session
from backend.settings import Settings
from backend.store.db import Database
from backend.store.keyring import ControlKeys
from backend.store.keys import ServiceKeys
from backend.store.migrate import migrate, seed_operators
from backend.supply.commands import terms_of
from chain import event_types
from chain.deployment import Deployment
from chain.events import ChainEvent
from chain.rpc import BlockRef
from protocol.control import Action, SupplyConfirmation, SupplyState
from protocol.eip712 import digest, to_json
from protocol.evidence import Reason, meter_hash
from protocol.keys import Signer
from protocol.money import MeteredCharge, Open
from protocol.pricing import Pricer
from protocol.tariff import Tariff
from protocol.wire import SignedFrame, frame_document
from tests.service.bench_agent import DIGITS, PLACEMENT, POLICY, RATED_WATTS, SERIAL, STEP, TARIFF, Meter

LOCK_MICRO = 100_000


class Inside:
    """One service without loops. Each call is one transaction, as in the program."""

    def __init__(self, folder: Path, url: str = "", **settings: Any) -> None:
        self.settings = Settings(base=folder, database_url=url or f"sqlite:///{folder / 'service.db'}", **settings)
        self.sender = Signer.create()
        keys = ServiceKeys(Signer.create(), ControlKeys(Signer.create()), self.sender, self.sender)
        deployment = Deployment(31337, os.urandom(32), 1, *(os.urandom(20) for _ in range(4)))
        self.service = Service(self.settings, keys, Database(self.settings.database), deployment)
        migrate(self.service.db)
        seed_operators(self.service.db, "operator", self.service.payee, int(time.time()))
        self.payer = Signer.create()
        self._logs = 0
        self.block = 10

    def close(self) -> None:
        with self.service.db.reading() as db:
            assert_balanced(db)
        self.service.db.close()

    def at(self, seconds_from_now: int) -> None:
        """Move the service's clock."""
        self.service.clock = lambda: time.time() + seconds_from_now

    def enrol(self, meter: Meter, tariff: dict[str, Any] | None = None, policy: dict[str, Any] | None = None, vouchers: int = 3) -> str:
        with self.service.db.writing() as db:
            stored = put_tariff(db, self.service, 1, tariff or TARIFF)
            point = create_point(db, self.service, 1, NewPoint(
                meter.device, meter.channel, "Bench", PLACEMENT, SERIAL, meter.meter_key.address, RATED_WATTS, stored.hash,
                parse_policy(policy or POLICY), 10**DIGITS * STEP, None, None,
            ))  # fmt: skip
            for _ in range(vouchers):
                voucher, signature = meter.voucher()
                add_voucher(db, self.service, get_device(db, meter.device), voucher, signature)
            return point.id

    def session(
        self, meter: Meter, point_id: str, lock_micro: int = LOCK_MICRO, signer: Signer | None = None, *, open_on_chain: bool = True
    ) -> Running:  # fmt: skip
        """A session that is open on the chain (and not connected yet), or still to be opened there."""
        now = self.service.now_s()
        with self.service.db.writing() as db:
            pay_key = None if signer is None else signer.address
            wish = Wish(point_id, self.payer.address, self.payer.address, signer is None, pay_key, lock_micro)
            row = quote(db, self.service, wish)
            session, quote_id = row.session, row.quote_id
        message = Open(session, lock_micro, now + 600)
        signature = self.payer.sign(digest(self.service.money, message))
        with self.service.db.writing() as db:
            open_session(db, self.service, quote_id, (lock_micro, now + 600), signature)
        if open_on_chain:
            self.final(event_types.SessionOpened(session, self.payer.address, self.service.payee, lock_micro), time_s=now)
        return Running(self, meter, session)

    def final(self, body: Any, time_s: int | None = None, transaction: bytes | None = None) -> None:
        """An event in a block that is final: kept and applied as the reader's loop does."""
        self._logs += 1
        self.block += 1
        event = ChainEvent(
            BlockRef(self.block, os.urandom(32)), time_s or self.service.now_s(), transaction or os.urandom(32), self._logs, bytes(20), body
        )  # fmt: skip
        with self.service.db.writing() as db:
            row = chainbooks._row(event)
            db.add(row)
            db.flush()
            assert chainbooks.apply(db, self.service, row, body)
            row.applied = True

    def upload(self, *frames: SignedFrame, charges: list[dict[str, Any]] | None = None, raw: list[bytes] | None = None) -> dict[str, Any]:
        """POST /frames, without HTTP."""
        bodies = raw if raw is not None else [json.dumps(frame_document(f)).encode() for f in frames]
        text = b'{"frames":[' + b",".join(bodies) + b'],"charges":' + json.dumps(charges or []).encode() + b"}"
        tally = Tally()
        parsed = parse_upload(text)
        arrived = decode_frames(parsed, tally)
        with self.service.db.writing() as db:
            ingest(db, self.service, parsed, arrived, tally)
            return tally.to_document()

    def alarms(self, *, open_only: bool = True) -> list[str]:
        with self.service.db.reading() as db:
            query = select(Alarm.kind).where(Alarm.cleared_at_s.is_(None)) if open_only else select(Alarm.kind)
            return sorted(db.scalars(query))


class Running:
    """A session, its meter and its agent's side."""

    def __init__(self, inside: Inside, meter: Meter, session: bytes) -> None:
        self.inside, self.meter, self.session = inside, meter, session
        self.highest = 0
        with inside.service.db.reading() as db:
            row = get_session(db, session)
            self.terms = terms_of(row)
            self.opened_at_s = row.opened_at_s or 0
            document = json.loads(row.policy)
        self.policy = document
        self.pricer: Pricer | None = None
        meter.clock = max(meter.clock, self.opened_at_s)

    def row(self) -> SessionRow:
        with self.inside.service.db.reading() as db:
            return get_session(db, self.session)

    @property
    def state(self) -> str:
        return self.row().state

    def commands(self) -> list[Command]:
        with self.inside.service.db.reading() as db:
            return list(db.scalars(select(Command).where(Command.session == self.session).order_by(Command.id)))

    def connect(self, tariff: dict[str, Any] | None = None) -> Running:
        """Ready, RECONNECT, measured connected, START record."""
        service = self.inside.service
        with service.db.writing() as db:
            assert ready(db, service, get_session(db, self.session, lock=True), os.urandom(32)) == ""
        order = self.commands()[-1]
        assert order.action == Action.RECONNECT
        self.highest = order.number
        assert self.confirm(SupplyState.CONNECTED, command=order.digest)
        self.pricer = Pricer(Tariff.from_document(tariff or TARIFF), self.opened_at_s, 10**DIGITS * STEP)
        self.use(self.meter.frame(self.meter.record(Reason.START)))
        assert self.state == "running"
        return self

    def confirm(self, state: SupplyState, *, command: bytes = bytes(32), cause: int = 0, at_s: int | None = None) -> bool:
        service, on = self.inside.service, state == SupplyState.CONNECTED
        said = SupplyConfirmation(
            self.meter.device, self.meter.channel, int(state), self.session, self.highest, command,
            at_s or service.now_s(), not on, 230_000 if on else 0, 0, cause,
        )  # fmt: skip
        signature = self.meter.meter_key.sign(digest(service.control, said))
        with service.db.writing() as db:
            return confirm(db, service, get_device(db, self.meter.device, lock=True), said, signature)

    def use(self, *frames: SignedFrame, charge: bool = True) -> dict[str, Any]:
        """Send frames, each with the charge it justifies."""
        charges = []
        for signed in frames:
            for record in signed.records:
                if self.pricer is not None:
                    self.pricer.add(record)
            if charge and self.terms.metered:
                charges.append(self.charge(signed.digest))
        return self.inside.upload(*frames, charges=[c for c in charges if c["amountMicro"]])

    def charge(self, frame: bytes, **changes: int) -> dict[str, Any]:
        assert self.pricer is not None
        amount = min(self.pricer.total_micro, self.row().lock_micro)
        values = {"amount_micro": amount, "energy_milliwatt_hours": self.pricer.energy_milliwatt_hours, "elapsed_s": self.pricer.elapsed_s}
        charge = MeteredCharge(self.session, frame=frame, **(values | changes))
        key = self.meter.charge_keys[self.terms.signer]
        return to_json(charge) | {"signature": "0x" + key.sign(digest(self.inside.service.money, charge)).hex()}


def hash_of_meter(serial: str, placement: str = PLACEMENT) -> bytes:
    return meter_hash(serial, placement)


def all_of(db: Db, table: Any) -> list[Any]:
    return list(db.scalars(select(table)))
