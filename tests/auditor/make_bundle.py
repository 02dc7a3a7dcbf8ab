"""Real evidence for tests: real keys, real trees, real pricing, from a seed, so that a failing example can be repeated.

`Evidence(...)` makes a session's whole life; `.bundle()` is its proof bundle. Tests break one thing by `_replace` or by a parameter.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from auditor.trust import Trust, key_heads, trust_heads
from protocol import evidence, merkle, ocmf
from protocol.bundle import AnchorLink, Bundle, BundledFrame, KeyEvent, OcmfText, SessionFacts, Signed, Tail
from protocol.control import KeyRole
from protocol.eip712 import EVIDENCE, digest, money_domain
from protocol.evidence import ChargeKeyVoucher, HandOver, Reason, Receipt, Record
from protocol.hashing import ZERO32, keccak
from protocol.keys import Signer
from protocol.money import MeteredCharge, Payment, Terms, point_commitment, session_id
from protocol.ocmf import Transaction
from protocol.pricing import price
from protocol.tariff import Tariff
from protocol.wire import SignedFrame

OPENED_AT_S = 1_767_225_600  # 2026-01-01T00:00:00Z
CHAIN_ID = 31337
BLOCK_S = 2
STEP_MILLIWATT_HOURS = 1_000


class Evidence:
    """One device, one session, `records` records after the START record, `per_frame` a frame, an anchor every `epoch_s`."""

    def __init__(
        self,
        records: int = 8,
        per_frame: int = 1,
        epoch_frames: int = 5,
        record_s: int = 900,
        epoch_s: int = 300,
        metered: bool = True,
        seed: int = 1,
        details: bool = True,
        real_trees: bool = True,
    ) -> None:
        self.random = random.Random(seed)
        self.record_s, self.epoch_s, self.epoch_frames, self.metered = record_s, epoch_s, epoch_frames, metered
        self.with_details, self.real_trees = details, real_trees
        self.meter, self.charge_key, self.pay_key, self.service, self.operator, self.payer, self.anchorer = (
            Signer(self.bytes(32)) for _ in range(7)
        )
        self.escrow, self.registry, self.anchor_log = self.bytes(20), self.bytes(20), self.bytes(20)
        self.device, self.salt, self.channel, self.rated_watts = self.bytes(32), self.bytes(32), 1, 11_000
        self.start_s = OPENED_AT_S
        self.tariff = self.make_tariff()
        self.records = self.make_records(records)
        self.signed = self.make_frames(self.records, per_frame)
        self.links: list[AnchorLink] = []
        self.frames = self.anchor(self.signed)
        self.key_events = [self.key_event(bytes(20), self.meter.address, ZERO32, self.start_s - 86_400)]
        self.terms = self.make_terms()
        self.hand_overs: tuple[Signed[HandOver], ...] = ()

    def bytes(self, size: int) -> bytes:
        return self.random.randbytes(size)

    # -------------------------------------------------------------- readings

    def make_records(self, count: int) -> list[tuple[Record, tuple[tuple[str, bytes], ...]]]:
        made, register = [], self.random.randrange(10**9) // STEP_MILLIWATT_HOURS * STEP_MILLIWATT_HOURS
        meter = evidence.meter_hash("WP-0001", "bay 1")
        for i in range(count + 1):
            end_s = self.start_s + i * self.record_s
            reason = Reason.START if i == 0 else Reason.STOP if i == count else Reason.PERIODIC
            power = self.random.randrange(0, self.rated_watts * 900)  # mW, below 90 % of the rating
            if i:
                register += power * self.record_s // 3_600 // STEP_MILLIWATT_HOURS * STEP_MILLIWATT_HOURS
            volts = 230_000 + self.random.randrange(-5_000, 5_000)
            amps = power * 1_000 // volts
            details = self.make_details(register, volts, amps, power) if self.with_details else ()
            record = Record(
                self.device, self.channel, i, end_s - (self.record_s if i else 0), end_s, register, 0, STEP_MILLIWATT_HOURS, volts, amps,
                power, 0, int(reason), meter, evidence.details_hash(details), self.bytes(32),
            )  # fmt: skip
            made.append((record, details))
        return made

    @staticmethod
    def make_details(register: int, volts: int, amps: int, power: int) -> tuple[tuple[str, bytes], ...]:
        return (
            ("1.8.0", b"(%06d.%03d*kWh)" % divmod(register // 1_000, 1_000)),
            ("2.8.0", b"(000000.000*kWh)"),
            ("16.7.0", b"(%03d.%03d*kW)" % divmod(power // 1_000, 1_000)),
            ("31.7.0", b"(%03d.%02d*A)" % (amps // 1_000, amps % 1_000 // 10)),
            ("32.7.0", b"(%03d.%d*V)" % (volts // 1_000, volts % 1_000 // 100)),
        )

    def make_frames(self, records: Sequence[tuple[Record, Any]], per_frame: int) -> list[SignedFrame]:
        incarnation, previous, seen = self.bytes(32), ZERO32, ZERO32
        made = []
        for i in range(0, len(records), per_frame):
            part = records[i : i + per_frame]
            frame = evidence.make_frame([record for record, _ in part], incarnation, previous, seen)
            previous, seen = evidence.frame_digest(frame), self.bytes(32)
            made.append(SignedFrame(frame, self.meter.sign(previous), tuple(r for r, _ in part), tuple(d for _, d in part)))
        return made

    # -------------------------------------------------------------- anchors

    def anchor(self, signed: Sequence[SignedFrame]) -> list[BundledFrame]:
        """Every `epoch_s` an epoch with the frames that ended since the last one and as many of other devices as it takes."""
        head, made, i, now_s = self.bytes(32), [], 0, self.start_s
        while i < len(signed):
            now_s += self.epoch_s
            mine = []
            while i < len(signed) and signed[i].records[-1].end_s < now_s:
                mine.append(signed[i])
                i += 1
            root, paths = self.epoch([frame.digest for frame in mine])
            time_s = now_s + self.random.randrange(BLOCK_S)
            made += [BundledFrame(*frame, len(self.links), tuple(path)) for frame, path in zip(mine, paths, strict=True)]
            transaction = self.bytes(32) if mine else None
            self.links.append(AnchorLink(self.anchorer.address, head, root, time_s, (time_s - self.start_s) // BLOCK_S, transaction))
            head = self.links[-1].head
        return made

    def epoch(self, mine: list[bytes]) -> tuple[bytes, list[list[bytes]]]:
        if not mine:
            return self.bytes(32), []
        if self.real_trees or len(mine) > 1:
            tree = evidence.epoch_tree([*mine, *(self.bytes(32) for _ in range(self.epoch_frames - len(mine)))])
            return tree.root, [tree.path(leaf) for leaf in mine]
        # A year of epochs of a thousand leaves takes minutes to hash; a path of random siblings costs its verifier the same.
        path = [self.bytes(32) for _ in range((self.epoch_frames - 1).bit_length())]
        return merkle.root_from_path(mine[0], path), [path]

    def key_event(self, old: bytes, new: bytes, last_frame: bytes, time_s: int, role: int = KeyRole.METER) -> KeyEvent:
        return KeyEvent(int(role), old, new, last_frame, time_s, max(0, (time_s - self.start_s) // BLOCK_S), self.bytes(32))

    # -------------------------------------------------------------- money

    def make_tariff(self) -> dict[str, Any]:
        """Two prices by the hour of the day, and tax: a month of it has lines of many records."""
        day = {"priceComponents": [{"type": "ENERGY", "microPerKwh": 420_000, "taxPpm": 190_000}],
               "restrictions": {"startTime": "08:00", "endTime": "20:00"}}  # fmt: skip
        night = {"priceComponents": [{"type": "ENERGY", "microPerKwh": 290_000, "taxPpm": 190_000}]}
        return {"id": "day-night", "version": 1, "currency": "EUR", "timeZone": "Europe/Berlin", "elements": [day, night]}

    def make_terms(self) -> Terms:
        return Terms(
            payer=self.payer.address, payee=self.operator.address, refund_to=self.payer.address,
            point_commitment=point_commitment(self.device, self.channel, self.meter.address, self.salt), metered=self.metered,
            signer=(self.charge_key if self.metered else self.pay_key).address, tariff_hash=Tariff.from_document(self.tariff).hash,
            agreement_hash=ZERO32, max_micro_per_kwh=600_000, max_micro_per_hour=0, max_flat_micro=0, rated_watts=self.rated_watts,
            latest_end_s=self.start_s + 400 * 86_400, stop_grace_s=600, close_delay_s=86_400, close_delay_blocks=100, salt=self.bytes(32),
        )  # fmt: skip

    def make_bill(self) -> tuple[dict[str, Any], int]:
        bill = price(Tariff.from_document(self.tariff), self.start_s, [record for record, _ in self.records],
                     [signed.value for signed in self.hand_overs])  # fmt: skip
        return bill.to_document(), bill.total_micro

    def make_ocmf(self, session: bytes) -> tuple[OcmfText, ...]:
        ends = ((self.records[0][0], Transaction.BEGIN), (self.records[-1][0], Transaction.END))
        texts = [ocmf.make(self.meter, record, reason, session, "WP-0001", n + 1) for n, (record, reason) in enumerate(ends)]
        return tuple(OcmfText(text, keccak(text.encode()), None) for text in texts)

    def bundle(self) -> Bundle:
        terms, last = self.terms, self.signed[-1]
        session = session_id(terms, CHAIN_ID, self.escrow)
        bill, total_micro = self.make_bill()
        energy = bill["energyMilliwattHours"]
        amount: MeteredCharge | Payment = Payment(session, total_micro, last.digest)
        if self.metered:
            amount = MeteredCharge(session, total_micro, energy, self.records[-1][0].end_s - self.start_s, last.digest)
        signer = self.charge_key if self.metered else self.pay_key
        voucher = ChargeKeyVoucher(self.device, self.channel, self.charge_key.address, self.start_s - 60)
        receipt = Receipt(self.device, last.frame.incarnation, last.last_sequence, last.digest,
                          last.records[-1].end_s + 1, last.records[-1].end_s + 2 * self.epoch_s)  # fmt: skip
        return Bundle(
            session=SessionFacts(
                session, terms, CHAIN_ID, self.escrow, self.registry, self.anchor_log, self.start_s, 50_000_000_000, self.salt, self.device,
                self.channel, self.rated_watts, 0, self.operator.address, self.service.address, 0, self.records[-1][0].sequence,
            ),
            tariff=self.tariff, agreement=None, policy=None, bill=bill,
            charge=Signed(amount, (signer.sign(digest(money_domain(CHAIN_ID, self.escrow), amount)),)),
            voucher=Signed(voucher, (self.meter.sign(digest(EVIDENCE, voucher)),)) if self.metered else None,
            claimed_micro=total_micro, credit_notes=(), tail=Tail("none", 0), key_events=tuple(self.key_events), links=tuple(self.links),
            chain_halts=(), frames=tuple(self.frames), conflicts=(),
            receipts=(Signed(receipt, (self.service.sign(digest(EVIDENCE, receipt)),)),),
            ocmf=self.make_ocmf(session), hand_overs=self.hand_overs, rulings=(), erasures=(),
        )  # fmt: skip

    def heads(self) -> Trust:
        """What an auditor trusts who looked up two heads: the anchorer's and the device's in the registry."""
        return trust_heads([self.links[-1].head, key_heads(self.device, self.key_events)[-1]])

    def kept(self) -> Trust:
        """What an auditor trusts who keeps all links (`sync`)."""
        heads = [link.head for link in self.links] + key_heads(self.device, self.key_events)
        anchors = {self.anchorer.address: {link.head: link for link in self.links}}
        return Trust(frozenset(heads), anchors, {self.device: self.key_events}, CHAIN_ID, self.anchor_log,
                     self.registry, self.links[-1].time_s)  # fmt: skip
