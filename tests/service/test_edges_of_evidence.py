"""Payments, OCMF texts, power nobody pays for, a meter key that changes."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select, update

from auditor.report import Verdict
from auditor.verify import verify
from backend.errors import Conflict
from backend.evidence.bundles import export
from backend.models import ClaimRow, IntentRow, OcmfText, Point
from backend.money import settlement
from backend.money.signed_amounts import take_ocmf
from backend.sessions.life import get_session
from backend.sessions.payments import pay
from backend.sessions.views import session_view
from backend.store.facts import CHAIN, ChainStatus, remember
from chain import event_types
from protocol import ocmf
from protocol.bundle import Bundle, HiddenRecord, decode_bundle, encode_bundle
from protocol.bundle_parts import AFTER_THE_BILL
from protocol.control import Cause, KeyRole, SupplyState
from protocol.eip712 import digest
from protocol.errors import Malformed
from protocol.evidence import Reason, Record, frame_digest
from protocol.keys import Signer
from protocol.money import Payment
from protocol.ocmf import check_public_key
from tests.service.bench_agent import Meter
from tests.service.inside import Inside, Running


def settle_round(inside: Inside) -> list[str]:
    """One round of the settlement, the chain read to its head. Returns the kinds of all transactions wanted so far."""
    now = inside.service.now_s()
    with inside.service.db.writing() as db:
        remember(db, CHAIN, ChainStatus(10_000, now + 100, 10_000, now, now, caught_up=True)._asdict())
    settlement.round_(inside.service, inside.service.db.writing)
    with inside.service.db.reading() as db:
        return list(db.scalars(select(IntentRow.kind).order_by(IntentRow.id)))


def test_a_payment_is_claimed_as_far_as_its_frame_was_priced(inside: Inside) -> None:
    meter, key = Meter(), Signer.create()
    session = inside.session(meter, inside.enrol(meter), signer=key)
    service = inside.service

    def signed(amount: int, frame: bytes) -> None:
        payment = Payment(session.session, amount, frame)
        with service.db.writing() as db:
            pay(db, service, get_session(db, session.session, lock=True), payment, key.sign(digest(service.money, payment)))

    signed(100, bytes(32))  # ahead of use: good faith, before power
    session.connect()
    used = meter.frame(meter.record(rise=1_000))
    session.use(used, charge=False)
    bill = session.row().bill_micro
    signed(bill, used.digest)
    signed(bill + 1, used.digest)  # more than that frame came to
    session.use(meter.frame(meter.record(Reason.STOP)), charge=False)
    session.confirm(SupplyState.DISCONNECTED, cause=Cause.PAYER_STOP)
    assert settle_round(inside)[-1] == "claim"
    with service.db.reading() as db:
        assert db.scalars(select(ClaimRow.amount_micro)).all() == [bill]
    inside.final(event_types.ChargeClaimed(session.session, service.payee, bill, used.digest))
    with service.db.writing() as db:
        db.execute(update(IntentRow).where(IntentRow.kind == "claim").values(state="succeeded", mined_block_number=5))
    assert settle_round(inside)[-1] == "close"
    inside.final(event_types.SessionClosed(session.session, bill, session.row().lock_micro - bill))
    settle_round(inside)
    row = session.row()
    assert (row.state, row.tail_micro) == ("settled", 0)


def test_what_was_signed_ahead_is_never_claimed_above_the_bill_and_the_payer_may_sign_the_bill_itself(inside: Inside) -> None:
    meter, key = Meter(), Signer.create()
    session = inside.session(meter, inside.enrol(meter), signer=key)
    service = inside.service

    def signed(amount: int, frame: bytes = bytes(32)) -> dict[str, Any]:
        payment = Payment(session.session, amount, frame)
        with service.db.writing() as db:
            row = get_session(db, session.session, lock=True)
            pay(db, service, row, payment, key.sign(digest(service.money, payment)))
            return session_view(db, service, row)

    signed(100)
    session.connect()
    used = meter.frame(meter.record(rise=1_000, seconds=3))
    session.use(used, charge=False)
    bill = session.row().bill_micro
    assert signed(bill + 50_000, used.digest)["claimableMicro"] == 100  # the one before: whole amounts only
    for amount in (99, 100, bill + 1, bill + 50_000):
        with pytest.raises(Conflict, match="cumulative"):
            signed(amount, meter.previous if amount != bill + 50_000 else bytes(32))
    view = signed(bill)
    assert (view["claimableMicro"], view["chargeMicro"], view["billMicro"]) == (bill, bill + 50_000, bill)
    session.use(meter.frame(meter.record(Reason.STOP)), charge=False)
    with service.db.reading() as db:
        report = verify(export(db, service, get_session(db, session.session)))
    assert {c.name: c.verdict for c in report.checks if c.name in ("charge", "claim", "tail")} == dict.fromkeys(
        ("charge", "claim", "tail"), Verdict.PASS
    )  # fmt: skip


def running(inside: Inside) -> Running:
    meter = Meter()
    return inside.session(meter, inside.enrol(meter)).connect()


def ocmf_texts(inside: Inside, session: Running, *texts: str) -> list[str]:
    documents: list[dict[str, Any]] = [{"session": "0x" + session.session.hex(), "text": text} for text in texts]
    for document in documents:
        with inside.service.db.writing() as db:
            assert take_ocmf(db, inside.service, document, "ocmf[0]") == ""
    with inside.service.db.reading() as db:
        return list(db.scalars(select(OcmfText.verdict).order_by(OcmfText.id)))


def test_ocmf_texts_are_kept_byte_for_byte_and_judged(inside: Inside) -> None:
    session = running(inside)
    record = session.meter.record(rise=1_000)
    good = ocmf.make(session.meter.meter_key, record, ocmf.Transaction.BEGIN, session.session, "1ESY1160000001", 1)
    foreign = ocmf.make(Signer.create(), record, ocmf.Transaction.BEGIN, session.session, "1ESY1160000001", 1)
    verdicts = ocmf_texts(inside, session, good, good, foreign, "OCMF|{}|{}")
    assert len(verdicts) == 3  # the same twice is one
    for text in ("\ud800", "a\0b", "x" * 70_000):
        with inside.service.db.writing() as db:
            assert take_ocmf(db, inside.service, {"session": "0x" + session.session.hex(), "text": text}, "ocmf[0]") != ""
    assert verdicts[0] == "signed by the meter key"
    assert all(verdict != verdicts[0] for verdict in verdicts[1:])
    with inside.service.db.reading() as db:
        kept = db.scalar(select(OcmfText.text).limit(1))
    assert kept is not None
    assert hashlib.sha256(kept.encode()).digest() == hashlib.sha256(good.encode()).digest()


def test_a_foreign_meters_text_stands_in_the_bundle_where_the_operator_stated_its_key(inside: Inside) -> None:
    session = running(inside)
    meter, foreign, stranger = session.meter, ec.generate_private_key(ec.SECP256R1()), Signer.create()
    payload = json.dumps({
        "FV": "1.0", "GI": "x", "PG": "T1", "MS": "7", "IS": False, "IT": "NONE", "ID": "",
        "RD": [{"TM": "2026-01-01T00:00:00,000+0000 S", "TX": "B", "RV": 1.0, "RI": "1-b:1.8.0", "RU": "kWh", "ST": "G"}],
    })  # fmt: skip
    signature = foreign.sign(payload.encode(), ec.ECDSA(hashes.SHA256()))
    text = f"OCMF|{payload}|" + json.dumps({"SA": "ECDSA-secp256r1-SHA256", "SD": signature.hex()})
    key = foreign.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    check_public_key(key)
    with inside.service.db.writing() as db:
        db.execute(update(Point).values(ocmf_public_key=key))
    record = meter.record(rise=1_000)
    forged = ocmf.make(stranger, record, ocmf.Transaction.BEGIN, session.session, "1ESY1160000001", 1)
    assert ocmf_texts(inside, session, text, forged)[0] == "signed by the point's own calibrated meter"
    with inside.service.db.reading() as db:
        packed = export(db, inside.service, get_session(db, session.session))
    assert [(item.text, item.public_key) for item in decode_bundle(packed).ocmf] == [(text, key)]
    found = next(check for check in verify(packed).checks if check.name == "ocmf")
    assert found.verdict is Verdict.NOT_CHECKED  # the meter key's own are not there; nothing is wrong with the foreign one
    for bad in (b"", b"x" * 64):
        with pytest.raises(Malformed):
            check_public_key(bad)


def test_power_that_no_session_pays_for_raises_an_alarm(inside: Inside) -> None:
    meter = Meter()
    inside.enrol(meter)
    inside.upload(meter.frame(meter.record(power=5_000)))
    assert inside.alarms() == []
    inside.upload(meter.frame(meter.record(power=500_000)))
    assert inside.alarms() == ["energy-without-session"]
    inside.upload(meter.frame(meter.record(power=0)))
    assert inside.alarms() == []


def test_another_meter_key_ends_what_runs(inside: Inside) -> None:
    session = running(inside)
    new = Signer.create()
    old = session.meter.meter_key.address
    key_changed = event_types.KeyChanged(session.meter.device, int(KeyRole.METER), old, new.address, bytes(32), os.urandom(32))
    inside.final(key_changed)
    row = session.row()
    assert (row.state, row.end_cause) == ("ending", Cause.OPERATOR)


def test_a_bundle_runs_to_the_frame_that_a_rotation_names_after_the_bill(inside: Inside) -> None:
    meter = Meter()
    session = inside.session(meter, inside.enrol(meter)).connect()
    session.use(meter.frame(meter.record(rise=1_000)), meter.frame(meter.record(Reason.STOP)))
    session.confirm(SupplyState.DISCONNECTED, cause=Cause.PAYER_STOP)
    last = session.row().last_sequence
    after = [meter.frame(meter.record()) for _ in range(3)]
    inside.upload(*after)

    def exported() -> Bundle:
        with inside.service.db.reading() as db:
            return decode_bundle(export(db, inside.service, get_session(db, session.session)))

    assert exported().frames[-1].frame.first_sequence == last
    assert exported().erasures == ()
    event = event_types.KeyChanged(meter.device, 1, meter.meter_key.address, os.urandom(20), after[1].digest, os.urandom(32))
    inside.final(event)
    bundle = exported()
    assert frame_digest(bundle.frames[-1].frame) == after[1].digest
    assert bundle.session.last_sequence == last
    assert [type(record) for frame in bundle.frames[-3:] for record in frame.records] == [Record, HiddenRecord, HiddenRecord]
    assert [(e.first_sequence, e.last_sequence, e.rule) for e in bundle.erasures] == [
        (record.sequence, record.sequence, AFTER_THE_BILL) for frame in after[:2] for record in frame.records
    ]
    found = {check.name: check for check in verify(encode_bundle(bundle), processes=1).checks}
    assert found["sequence"].verdict == found["frame-chain"].verdict == found["arithmetic"].verdict == Verdict.PASS
    assert found["erasures"].verdict == Verdict.ERASED
