"""What the buyer's core is tested on: real signed frames of a meter, a quote as the service makes it, a journal on the disk."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from buyer_agent.compare import Comparison
from buyer_agent.journal import Journal, Live, State
from buyer_agent.own_meter import Series
from buyer_agent.payer import Payer
from buyer_agent.quote import Agreed, Wish, read_quote
from protocol.eip712 import to_json
from protocol.evidence import Reason
from protocol.hashing import document_hash
from protocol.keys import Signer
from protocol.money import Terms, point_commitment, session_id
from protocol.tariff import Tariff, ceilings
from protocol.wire import SignedFrame, encode_frame
from tests.service.bench_agent import POLICY, TARIFF, Meter

CHAIN_ID, ESCROW, POINT = 31_337, b"\x11" * 20, "point-1"
LOCK_MICRO = 10**9


class Paper:
    """One meter, one pay key, one session between them; `state` is the buyer's folder."""

    def __init__(self, state: Path, tariff: dict[str, Any] | None = None, step: int = 1_000, lock_micro: int = LOCK_MICRO) -> None:
        self.state, self.step, self.lock_micro = state, step, lock_micro
        self.meter, self.pay_key = Meter(), Signer.create()
        self.tariff = Tariff.from_document(tariff or TARIFF)
        self.salt = os.urandom(32)
        self.opened_at_s = self.meter.clock = int(time.time()) - 4_000
        per_kwh, per_hour, flat = ceilings(self.tariff)
        payer = self.pay_key.address
        self.terms = Terms(
            payer, b"\x22" * 20, payer, point_commitment(self.meter.device, 1, self.meter.meter_key.address, self.salt), False, payer,
            self.tariff.hash, document_hash(POLICY), per_kwh, per_hour, flat, 3_680, int(time.time()) + 7_200, 60, 60, 2, os.urandom(32),
        )  # fmt: skip
        self.session = session_id(self.terms, CHAIN_ID, ESCROW)

    def quote(self, **changes: Any) -> dict[str, Any]:
        point = {
            "device": "0x" + self.meter.device.hex(), "channel": 1, "meterKey": "0x" + self.meter.meter_key.address.hex(),
            "pointSalt": "0x" + self.salt.hex(),
        }  # fmt: skip
        return {
            "quoteId": "q", "terms": to_json(self.terms), "session": "0x" + self.session.hex(), "tariff": self.tariff.document,
            "policy": POLICY, "point": point, "accessToken": "t", "expiresAtS": 0, "estimate": {}, "typedData": {},
        } | changes  # fmt: skip

    def wish(self) -> Wish:
        return Wish(POINT, self.pay_key.address, self.pay_key.address, CHAIN_ID, ESCROW, None)

    def agreed(self) -> Agreed:
        return read_quote(self.quote(), self.wish(), None, int(time.time()))

    def live(self) -> Live:
        opening = {"deadlineS": self.opened_at_s + 600}
        return Live(
            session=self.session, quote=self.quote(), offer=None, opening=opening, made_at_s=self.opened_at_s, lock_micro=self.lock_micro,
            opened_at_s=self.opened_at_s,
        )  # fmt: skip

    def journal(self) -> Journal:
        journal = Journal(self.state / "journal")
        if journal.state.live is None:
            journal.save(State(live=self.live()), "opening")
        return journal

    def payer(self, journal: Journal, series: Series | None = None, ppm: int = 30_000, **more: Any) -> Payer:
        comparison = None if series is None else Comparison(series, ppm, 60)
        return Payer(
            self.agreed(), self.opened_at_s, journal, self.pay_key, CHAIN_ID, ESCROW, series=series, comparison=comparison, **more
        )

    def start(self) -> bytes:
        return self.raw(self.meter.frame(self.meter.record(Reason.START, step_milliwatt_hours=self.step)))

    def use(self, rise: int = 1_000, seconds: int = 1, reason: Reason = Reason.PERIODIC, **changes: Any) -> bytes:
        power = rise * 3_600 // max(1, seconds)
        record = self.meter.record(reason, rise=rise, seconds=seconds, power=power, step_milliwatt_hours=self.step, **changes)
        return self.raw(self.meter.frame(record))

    @staticmethod
    def raw(signed: SignedFrame) -> bytes:
        return encode_frame(signed)


def now_s() -> int:
    return int(time.time())
