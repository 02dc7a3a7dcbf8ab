"""Disputes and rulings: the bill stops at the last undisputed frame, and goes on with what operator and payer say stands."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from sqlalchemy import select, update

from auditor.report import Verdict
from auditor.verify import verify
from backend.errors import BadRequest, Conflict, Unavailable
from backend.evidence.bundles import export
from backend.evidence.epochs import tree_of
from backend.evidence.rulings import take_ruling
from backend.models import Epoch, FrameRow, IntentRow
from backend.money.ledger import Kind, Ledger
from backend.money.reconcile import _energy_and_evidence
from backend.money.settlement import _settle, last_claimable
from backend.sessions.life import get_session
from backend.sessions.views import session_view
from chain import event_types
from protocol.control import Cause, KeyRole, SupplyState
from protocol.eip712 import EVIDENCE, digest
from protocol.evidence import Reason, Ruling
from protocol.keys import Signer
from protocol.wire import SignedFrame
from tests.service.bench_agent import POLICY, Meter
from tests.service.inside import Inside, Running

ZERO = bytes(32)


class Scene(NamedTuple):
    """A session whose meter signed two frames for its third record. `before` is the bill up to the last undisputed frame."""

    inside: Inside
    session: Running
    held: SignedFrame
    refused: SignedFrame
    before: int
    whole: int

    def ruling(self, accepted: bytes, last: int | None = None) -> Ruling:
        held, meter = self.held.frame, self.session.meter
        return Ruling(
            self.session.session, meter.device, held.incarnation, held.first_sequence, last or held.first_sequence, accepted,
            self.inside.service.now_s(),
        )  # fmt: skip

    def rule(self, ruling: Ruling, *signers: Signer) -> dict[str, Any]:
        service = self.inside.service
        signatures = [signer.sign(digest(EVIDENCE, ruling)) for signer in signers or (service.keys.sender, self.inside.payer)]
        with service.db.writing() as db:
            row = get_session(db, ruling.session, lock=True)
            take_ruling(db, service, row, ruling, signatures)
            return session_view(db, service, row)

    def checks(self) -> dict[str, str]:
        """What the auditor finds wrong with the session's bundle, what needs a chain aside."""
        with self.inside.service.db.reading() as db:
            report = verify(export(db, self.inside.service, get_session(db, self.session.session)))
        unmade = ("links", "key-events", "frame-keys", "charge-key", "epoch-inclusion", "receipts", "hand-overs")  # no chain here
        return {c.name: c.detail for c in report.checks if c.verdict is Verdict.FAIL and c.name not in unmade}

    def claimable(self) -> int:
        with self.inside.service.db.reading() as db:
            amount = last_claimable(db, get_session(db, self.session.session))
        return 0 if amount is None else amount.amount_micro

    def used(self) -> int:
        with self.inside.service.db.reading() as db:
            return -Ledger(db, 1, 0).balance(Kind.USE, self.session.session)

    def differences(self) -> list[str]:
        return [d.name for d in _energy_and_evidence(self.inside.service)]


def opened(inside: Inside, meter: Meter, policy: dict[str, Any] | None = None) -> Running:
    """A running session of a meter whose key the registry knows."""
    point = inside.enrol(meter, policy=policy)
    event = event_types.KeyChanged(meter.device, int(KeyRole.METER), bytes(20), meter.meter_key.address, ZERO, ZERO)
    inside.final(event, time_s=inside.service.now_s() - 10)
    return inside.session(meter, point).connect()


def disputed(inside: Inside, policy: dict[str, Any] | None = None, *, claimed: bool = False, late: bool = False) -> Scene:
    """`claimed`: all of it was claimed before the second frame came; `late`: and the session was settled."""
    meter = Meter()
    session = opened(inside, meter, policy)
    session.use(meter.frame(meter.record(rise=1_000, seconds=3)))
    before = session.row().bill_micro
    state = (meter.previous, meter.sequence, meter.register, meter.clock)
    held = meter.frame(meter.record(rise=2_000, seconds=3))
    session.use(held, meter.frame(meter.record(rise=1_000, seconds=3)), meter.frame(meter.record(Reason.STOP)))
    whole = session.row().bill_micro
    if claimed or late:
        inside.final(event_types.ChargeClaimed(session.session, inside.service.payee, whole, ZERO))
    if late:
        session.confirm(SupplyState.DISCONNECTED, cause=Cause.PAYER_STOP)
        inside.final(event_types.SessionClosed(session.session, whole, session.row().lock_micro - whole))
        settle(inside, session.session)
    meter.previous, meter.sequence, meter.register, meter.clock = state
    refused = meter.frame(meter.record(rise=1_000, seconds=3))
    assert inside.upload(refused)["refused"][0]["code"] == "equivocation"
    if not late:
        session.confirm(SupplyState.DISCONNECTED, cause=Cause.FAULT)
    return Scene(inside, session, held, refused, before, whole)


def anchored(inside: Inside) -> None:
    """All frames so far, in one epoch."""
    with inside.service.db.writing() as db:
        rows = db.query(FrameRow).all()
        from protocol.evidence import epoch_tree

        root = epoch_tree([row.digest for row in rows]).root
        epoch = Epoch(operator_id=0, anchorer=inside.sender.address, root=root, frame_count=len(rows), state="closed", closed_at_s=1)
        db.add(epoch)
        db.flush()
        for row in rows:
            row.epoch_id = epoch.id


def test_without_a_ruling_bill_books_and_bundle_stop_at_the_last_undisputed_frame(inside: Inside) -> None:
    scene = disputed(inside)
    row = scene.session.row()
    assert row.bill_micro == row.charge_micro == scene.claimable() == scene.used() == scene.before < scene.whole
    assert row.state == "ended"
    assert scene.differences() == []
    assert scene.checks() == {}
    with inside.service.db.writing() as db:
        assert "ruling" in session_view(db, inside.service, row)["waitingFor"]
        _settle(db, inside.service, _settling(get_session(db, row.session)))
        assert get_session(db, row.session).closed_at_s is None


def _settling(row: Any) -> Any:
    row.state = "settling"
    return row


def test_a_ruling_for_the_log_prices_what_it_holds_and_lets_it_be_claimed(inside: Inside) -> None:
    scene = disputed(inside)
    view = scene.rule(scene.ruling(scene.held.digest))
    row = scene.session.row()
    assert row.bill_micro == scene.claimable() == scene.used() == view["billMicro"] == scene.whole
    assert (row.disputed_from_s, view["dispute"], row.stop_record_seen) == (None, None, True)
    assert scene.differences() == []
    assert scene.checks() == {}
    assert "equivocation" not in inside.alarms()
    with pytest.raises(Conflict, match="ruled on already"):
        scene.rule(scene.ruling(ZERO)._replace(made_at_s=1))


def test_a_ruling_for_the_refused_frame_puts_it_in_the_log_and_keeps_what_it_rules_out(inside: Inside) -> None:
    scene = disputed(inside)
    last = scene.held.frame.first_sequence + 2
    with pytest.raises(BadRequest, match="must cover"):
        scene.rule(scene.ruling(scene.refused.digest))
    with pytest.raises(Unavailable, match="next epoch"):
        scene.rule(scene.ruling(scene.refused.digest, last))
    anchored(inside)
    scene.rule(scene.ruling(scene.refused.digest, last))
    row = scene.session.row()
    assert scene.before < row.bill_micro == scene.used() < scene.whole
    assert scene.differences() == []
    assert scene.checks() == {}
    meter = scene.session.meter
    meter.previous, meter.sequence = scene.refused.digest, scene.refused.last_sequence + 1
    more = meter.frame(meter.record(rise=1_000, seconds=3)), meter.frame(meter.record(Reason.STOP))
    assert inside.upload(*more)["accepted"] == 2  # the branch goes on
    assert scene.session.row().stop_record_seen
    assert scene.session.row().bill_micro > row.bill_micro
    assert scene.checks() == {}
    with inside.service.db.reading() as db:
        tree_of(db, db.query(Epoch).one())  # what was anchored stays anchored


def test_a_ruling_that_nothing_stands_leaves_the_bill_where_it_stopped(inside: Inside) -> None:
    scene = disputed(inside)
    scene.rule(scene.ruling(ZERO))
    assert scene.session.row().bill_micro == scene.claimable() == scene.before
    assert scene.checks() == {}


def settle_kinds(inside: Inside, session: bytes) -> list[str]:
    with inside.service.db.reading() as db:
        return list(db.scalars(select(IntentRow.kind).where(IntentRow.reference == session).order_by(IntentRow.id)))


def settle(inside: Inside, session: bytes) -> list[str]:
    """One round of the settlement for one session. Returns the kinds of transactions it wanted so far."""
    with inside.service.db.writing() as db:
        row = get_session(db, session, lock=True)
        if row.state == "ended":
            row.state = "settling"
        _settle(db, inside.service, row)
    return settle_kinds(inside, session)


@pytest.mark.parametrize("ruled", [True, False])
def test_what_was_claimed_above_the_last_undisputed_charge_goes_back_by_credit_note(new_inside: Any, ruled: bool) -> None:
    inside = new_inside() if ruled else new_inside(settlement={"ruling_wait_seconds": 0})
    scene = disputed(inside, claimed=True)
    session = scene.session.session
    assert scene.session.row().claimed_micro == scene.whole > scene.before
    assert "claim" in scene.checks()  # more was claimed than now stands: named, until it is given back
    if ruled:
        assert "credit-note" not in settle(inside, session)  # the parties may rule that what was claimed stands
        scene.rule(scene.ruling(ZERO))
    assert settle(inside, session)[-1] == "credit-note"
    assert settle(inside, session).count("credit-note") == 1
    with inside.service.db.reading() as db:
        assert "credit note" in session_view(db, inside.service, scene.session.row())["waitingFor"]
        call = inside.service.calls.credit_note(scene.session.terms, scene.whole - scene.before)
        assert db.scalars(select(IntentRow.data).where(IntentRow.kind == "credit-note")).one() == call.data
    with inside.service.db.writing() as db:
        db.execute(update(IntentRow).where(IntentRow.kind == "credit-note").values(state="succeeded", mined_block_number=1))
    note = event_types.CreditNoteGiven(session, inside.service.payee, inside.payer.address, scene.whole - scene.before)
    inside.final(note)
    assert settle(inside, session)[-1] == "close"
    inside.final(event_types.SessionClosed(session, scene.whole, scene.session.row().lock_micro - scene.whole))
    settle(inside, session)
    row = scene.session.row()
    assert (row.state, row.tail_micro, row.credit_note_micro) == ("settled", 0, scene.whole - scene.before)
    assert scene.used() == 0
    assert scene.checks() == {}


def test_a_settled_session_is_corrected_too(inside: Inside) -> None:
    scene = disputed(inside, late=True)
    session = scene.session.session
    assert scene.session.state == "settled"
    assert "equivocation" in scene.checks()
    scene.rule(scene.ruling(ZERO))
    assert settle_kinds(inside, session)[-1] == "credit-note"
    inside.final(event_types.CreditNoteGiven(session, inside.service.payee, inside.payer.address, scene.whole - scene.before))
    assert scene.checks() == {}
    with inside.service.db.reading() as db:
        assert Ledger(db, 1, 0).balance(Kind.SALES) == scene.before


def test_a_ruling_takes_both_signatures_or_the_arbiter_the_agreement_names(inside: Inside) -> None:
    arbiter, sender = Signer.create(), inside.service.keys.sender
    scene = disputed(inside, POLICY | {"arbiter": "0x" + arbiter.address.hex()})
    ruling = scene.ruling(scene.held.digest)
    for signers in ((sender, sender), (inside.payer, sender), (inside.payer,), (sender,), (sender, inside.payer, arbiter)):
        with pytest.raises(BadRequest):
            scene.rule(ruling, *signers)
    for wrong in (ruling._replace(device=ZERO), ruling._replace(accepted_frame=bytes(31) + b"x"), ruling._replace(first_sequence=99)):
        with pytest.raises(BadRequest):
            scene.rule(wrong, arbiter)
    scene.rule(ruling, arbiter)
    assert scene.session.row().bill_micro == scene.whole
    assert scene.checks() == {}


def test_parties_may_believe_a_register_that_jumped(inside: Inside) -> None:
    meter = Meter()
    session = opened(inside, meter)
    session.use(meter.frame(meter.record(rise=1_000, seconds=60)))
    jumped = meter.frame(meter.record(rise=20_000))
    session.use(jumped)
    row = session.row()
    assert row.blocked
    assert row.charge_micro == row.bill_micro
    scene = Scene(inside, session, jumped, jumped, row.bill_micro, 0)
    session.confirm(SupplyState.DISCONNECTED, cause=Cause.FAULT)
    scene.rule(scene.ruling(jumped.digest))
    after = session.row()
    assert (after.blocked, after.energy_milliwatt_hours) == ("", 21_000)
    assert scene.claimable() == after.bill_micro > row.bill_micro
    assert scene.checks() == {}
    assert inside.alarms() == []
    session.use(meter.frame(meter.record(rise=1_000, seconds=3)))  # goes on from what was believed
    assert session.row().energy_milliwatt_hours == 22_000
