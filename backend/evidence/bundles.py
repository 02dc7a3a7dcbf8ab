"""The proof bundle of a session: everything an outsider needs to check its bill, collected from the tables. `docs/bundle.md` says what it
is.

Nothing is stored for it: the same evidence gives the same bytes, whenever it is exported. Records of other points of the same device are
hidden behind their hashes, by the rule named in the erasures.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from protocol import ocmf
from protocol.bundle import Bundle, BundledFrame, SessionFacts, Signed, encode_bundle
from protocol.bundle_parts import (
    AFTER_THE_BILL,
    ANOTHER_POINT,
    AnchorLink,
    ChainHalt,
    CreditNote,
    Erasure,
    HiddenRecord,
    KeyEvent,
    OcmfText,
    Tail,
)
from protocol.control import Cause, KeyRole, SupplyConfirmation, SupplyState
from protocol.eip712 import from_json, hex_bytes
from protocol.evidence import ChargeKeyVoucher, HandOver, Receipt, Record, Ruling, record_hash
from protocol.merkle import Tree
from protocol.money import MeteredCharge, Payment
from protocol.wire import Details, decode_frame

from .. import jsons
from ..context import Service
from ..devices.points import get_point, hand_overs_of, tariff_of
from ..errors import Conflict
from ..models import (
    AnchorLinkRow,
    ChainEventRow,
    ChainHaltRow,
    Confirmation,
    ConflictRow,
    Epoch,
    FrameRow,
    KeyEventRow,
    RuledOutFrame,
    RulingRow,
    SessionRow,
    Voucher,
)  # fmt: skip
from ..models import (
    OcmfText as OcmfRow,
)
from ..money.disputes import is_in_dispute, rulings_of
from ..money.rating import pricer_of
from ..money.settlement import last_claimable
from ..money.signed_amounts import OCMF_FOREIGN, OCMF_GOOD
from ..supply.commands import terms_of
from .epochs import tree_of
from .frames import conflicts_of, decode, frame_by_digest, frames_between, latest_receipt
from .ingest import receipt_of

MAX_FRAMES_AFTER = 10_000
"""Frames of all devices between a bill's last and one that the end of a key names: more is not "just before", and would swell the file."""


def export(db: Session, service: Service, row: SessionRow) -> bytes:
    """The bundle of a session as it stands now. Raises `Conflict` while there is nothing to prove."""
    if row.opened_at_s is None or row.first_frame_id is None or row.last_frame_id is None:
        raise Conflict("nothing was measured for this session, so there is no bill to prove", "session")
    collector = _Collector(db, service, row)
    return encode_bundle(collector.bundle())


class _Collector:
    """Collects one bundle. Trees are built once for each epoch."""

    def __init__(self, db: Session, service: Service, row: SessionRow) -> None:
        self._db, self._service, self._row = db, service, row
        self._terms = terms_of(row)
        self._trees: dict[int, Tree] = {}
        self._hidden: list[tuple[int, int, str]] = []  # (sequence, when its frame arrived, the rule)

    def bundle(self) -> Bundle:
        db, service, row = self._db, self._service, self._row
        frames = frames_between(db, row.device, row.first_frame_id or 0, self._through(row.last_frame_id or 0))
        links, number_of = self._links(frames)
        bundled = tuple(self._frame(stored, number_of) for stored in frames)
        policy = jsons.loads(row.policy)
        return Bundle(
            session=self._facts(), tariff=tariff_of(db, service, row.operator_id, row.tariff_hash).document, agreement=policy,
            policy=policy,
            bill=pricer_of(db, service, row).bill().to_document(), charge=self._charge(), voucher=self._voucher(),
            claimed_micro=row.claimed_micro, credit_notes=self._credit_notes(), tail=self._tail(), key_events=self._key_events(),
            links=links,
            chain_halts=self._halts(frames), frames=bundled,
            conflicts=self._conflicts(),
            receipts=self._receipts(), ocmf=self._ocmf(), hand_overs=self._hand_overs(), rulings=self._rulings(), erasures=self._erasures(),
            end=self._end(),
        )  # fmt: skip

    def _through(self, last_frame_id: int) -> int:
        """The bill's last frame, or the one after it that the end of a meter key names where frames of the bill were anchored too late.

        They hold because they stand before that one (design §5), which the file must show.
        """
        for event in self._db.scalars(select(KeyEventRow).where(
            KeyEventRow.device == self._row.device, KeyEventRow.role == int(KeyRole.METER), KeyEventRow.last_frame != bytes(32)
        ).order_by(KeyEventRow.id)):  # fmt: skip
            named = frame_by_digest(self._db, event.last_frame)
            if named is None or not last_frame_id < named.id <= last_frame_id + MAX_FRAMES_AFTER or named.device != self._row.device:
                continue
            anchored_s = self._db.scalar(
                select(AnchorLinkRow.time_s).join(Epoch, Epoch.link_id == AnchorLinkRow.id)
                .join(FrameRow, FrameRow.epoch_id == Epoch.id).where(FrameRow.id == last_frame_id)
            )  # fmt: skip
            if anchored_s is None or anchored_s >= event.time_s:
                return named.id
        return last_frame_id

    def _facts(self) -> SessionFacts:
        row, deployment = self._row, self._service.deployment
        point = get_point(self._db, row.point_id)
        opened_at_s, first_sequence, last_sequence = row.opened_at_s or 0, row.first_sequence or 0, row.last_sequence or 0
        return SessionFacts(
            session=row.session, terms=self._terms, chain_id=deployment.chain_id, escrow=deployment.escrow, registry=deployment.registry,
            anchor_log=deployment.anchor_log, opened_at_s=opened_at_s, lock_micro=row.lock_micro, point_salt=row.point_salt,
            device=row.device, channel=row.channel, rated_watts=self._terms.rated_watts,
            register_modulus_milliwatt_hours=point.register_modulus_milliwatt_hours, operator=self._service.keys.sender.address,
            service_key=self._service.keys.service.address, first_sequence=first_sequence, last_sequence=last_sequence,
        )  # fmt: skip

    def _links(self, frames: list[FrameRow]) -> tuple[tuple[AnchorLink, ...], dict[int, int]]:
        """Links from the session's first epoch to the newest head, in runs by anchorer; and where each link row stands among them."""
        epoch_ids = {stored.epoch_id for stored in frames if stored.epoch_id is not None}
        anchored = select(Epoch.link_id).where(Epoch.id.in_(epoch_ids), Epoch.link_id.is_not(None)).order_by(Epoch.link_id)
        first = self._db.scalar(anchored.limit(1))
        if first is None:
            return (), {}
        start = self._db.get_one(AnchorLinkRow, first)
        rows = self._db.scalars(
            select(AnchorLinkRow).where(AnchorLinkRow.anchorer == start.anchorer, AnchorLinkRow.id >= first).order_by(AnchorLinkRow.id)
        ).all()
        links = tuple(AnchorLink(r.anchorer, r.previous_head, r.root, r.time_s, r.block_number, r.transaction_hash) for r in rows)
        return links, {r.id: number for number, r in enumerate(rows)}

    def _frame(self, stored: FrameRow, number_of: dict[int, int]) -> BundledFrame:
        signed = decode(stored)
        records: list[Record | HiddenRecord] = []
        details: list[Details] = []
        for record, its_details in zip(signed.records, signed.details, strict=True):
            mine, billed = record.channel == self._row.channel, stored.id <= (self._row.last_frame_id or 0)
            if mine and billed:
                records.append(record)
                details.append(its_details)
            else:
                records.append(HiddenRecord(record.sequence, record_hash(record)))
                details.append(())
                self._hidden.append((record.sequence, stored.received_at_s, AFTER_THE_BILL if mine else ANOTHER_POINT))
        link, path = self._path(stored, number_of)
        return BundledFrame(signed.frame, signed.signature, tuple(records), tuple(details), link, path)

    def _path(self, stored: FrameRow, number_of: dict[int, int]) -> tuple[int | None, tuple[bytes, ...]]:
        if stored.epoch_id is None:
            return None, ()
        epoch = self._db.get_one(Epoch, stored.epoch_id)
        if epoch.link_id is None or epoch.link_id not in number_of:
            return None, ()
        if epoch.id not in self._trees:
            self._trees[epoch.id] = tree_of(self._db, epoch)
        return number_of[epoch.link_id], tuple(self._trees[epoch.id].path(stored.digest))

    def _conflicts(self) -> tuple[BundledFrame, ...]:
        """What two frames claim: those refused beside the log, and those a ruling of this session took out of it."""
        conflicts = [c for c in conflicts_of(self._db, self._row.device) if self._concerns(c)]
        refused = [c.body for c in conflicts if frame_by_digest(self._db, c.digest) is None]
        out = select(RuledOutFrame.body).join(RulingRow, RulingRow.id == RuledOutFrame.ruling_id)
        ruled_out = self._db.scalars(out.where(RulingRow.session == self._row.session).order_by(RuledOutFrame.received_at_s))
        return tuple(self._conflict(body) for body in (*refused, *ruled_out))

    def _rulings(self) -> tuple[Signed[Ruling], ...]:
        return tuple(
            Signed(from_json(Ruling, jsons.loads(r.document)), tuple(hex_bytes(s, 65, "signature") for s in jsons.loads(r.signatures)))
            for r in rulings_of(self._db, self._row.session)
        )  # fmt: skip

    def _concerns(self, conflict: ConflictRow) -> bool:
        """A conflict belongs to the bill if its accepted rival does, or stands in its time."""
        first, last = self._row.first_frame_id or 0, self._row.last_frame_id or 0
        return first <= conflict.accepted_frame_id <= last or conflict.disputed_from_s >= (self._row.opened_at_s or 0)

    def _conflict(self, body: bytes) -> BundledFrame:
        signed = decode_frame(body)
        hidden = tuple(r if r.channel == self._row.channel else HiddenRecord(r.sequence, record_hash(r)) for r in signed.records)
        details = tuple(d if r.channel == self._row.channel else () for r, d in zip(signed.records, signed.details, strict=True))
        return BundledFrame(signed.frame, signed.signature, hidden, details, None, ())

    def _charge(self) -> Signed[MeteredCharge] | Signed[Payment] | None:
        amount = last_claimable(self._db, self._row)
        if amount is None:
            return None
        if self._row.metered:
            charge = MeteredCharge(
                self._row.session, amount.amount_micro, amount.energy_milliwatt_hours, amount.elapsed_s, amount.frame
            )  # fmt: skip
            return Signed(charge, (amount.signature,))
        return Signed(Payment(self._row.session, amount.amount_micro, amount.frame), (amount.signature,))

    def _voucher(self) -> Signed[ChargeKeyVoucher] | None:
        row = self._db.get(Voucher, self._terms.signer) if self._row.metered else None
        if row is None:
            return None
        return Signed(ChargeKeyVoucher(row.device, row.channel, row.charge_key, row.made_at_s), (row.signature,))

    def _tail(self) -> Tail:
        row = self._row
        charged = last_claimable(self._db, row)
        amount = row.bill_micro - (0 if charged is None else charged.amount_micro)
        name = "supplied between the last charge and the measured disconnection"
        if is_in_dispute(self._db, row):
            name = "supplied between the last charge and the place where the bill stops: two frames, or a register, in dispute"
        return Tail(name if amount else "none", amount)

    def _credit_notes(self) -> tuple[CreditNote, ...]:
        rows = self._db.scalars(select(ChainEventRow).where(
            ChainEventRow.session == self._row.session, ChainEventRow.name == "CreditNoteGiven", ChainEventRow.applied.is_(True)
        ).order_by(ChainEventRow.id))  # fmt: skip
        return tuple(CreditNote(int(jsons.loads(r.values)["amount_micro"]), r.time_s, r.transaction_hash) for r in rows)

    def _key_events(self) -> tuple[KeyEvent, ...]:
        rows = self._db.scalars(select(KeyEventRow).where(KeyEventRow.device == self._row.device).order_by(KeyEventRow.id))
        return tuple(KeyEvent(r.role, r.old_key, r.new_key, r.last_frame, r.time_s, r.block_number, r.transaction_hash) for r in rows)

    def _halts(self, frames: list[FrameRow]) -> tuple[ChainHalt, ...]:
        since = frames[0].received_at_s
        rows = self._db.scalars(select(ChainHaltRow).where(ChainHaltRow.until_s >= since).order_by(ChainHaltRow.from_block))
        return tuple(ChainHalt(r.from_block, r.from_s, r.until_s) for r in rows)

    def _receipts(self) -> tuple[Signed[Receipt], ...]:
        """The latest receipt of the device, where it is for a frame of this bill: it covers all before."""
        row = latest_receipt(self._db, self._row.device)
        if row is None:
            return ()
        frame = frame_by_digest(self._db, row.frame)
        if frame is None or not (self._row.first_frame_id or 0) <= frame.id <= (self._row.last_frame_id or 0):
            return ()
        return (Signed(receipt_of(row), (row.signature,)),)

    def _ocmf(self) -> tuple[OcmfText, ...]:
        rows = self._db.scalars(
            select(OcmfRow).where(OcmfRow.session == self._row.session, OcmfRow.verdict.in_((OCMF_GOOD, OCMF_FOREIGN))).order_by(OcmfRow.id)
        )
        return tuple(OcmfText(r.text, r.hash, r.public_key) for r in rows if r.public_key is not None or self._is_billed(r.text))

    def _is_billed(self, text: str) -> bool:
        """Whether our own text is of a record the bill has: one whose record is disputed says nothing about it."""
        record = ocmf.parse(text.encode()).fields.get("UN")
        return type(record) is not int or record <= (self._row.last_sequence or 0)

    def _end(self) -> Signed[SupplyConfirmation] | None:
        """The first measured disconnection that names a cause."""
        row = self._db.scalar(select(Confirmation).where(
            Confirmation.session == self._row.session, Confirmation.state == SupplyState.DISCONNECTED, Confirmation.cause != Cause.NONE
        ).order_by(Confirmation.id).limit(1))  # fmt: skip
        if row is None or (row.device, row.channel) != (self._row.device, self._row.channel):
            return None
        return Signed(from_json(SupplyConfirmation, jsons.loads(row.document)), (row.signature,))

    def _hand_overs(self) -> tuple[Signed[HandOver], ...]:
        found = []
        for row in hand_overs_of(self._db, self._row.device, self._row.channel):
            swap = from_json(HandOver, jsons.loads(row.document))
            if (self._row.first_sequence or 0) <= swap.sequence <= (self._row.last_sequence or 0):
                found.append(Signed(swap, (row.signature, row.operator_signature or b"")))
        return tuple(found)

    def _erasures(self) -> tuple[Erasure, ...]:
        return tuple(Erasure(sequence, sequence, at_s, rule) for sequence, at_s, rule in self._hidden)
