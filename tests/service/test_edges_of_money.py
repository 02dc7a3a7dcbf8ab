"""What anybody may send to the chain at the worst moment, and what is claimed then: the chain is read on, nothing is lost."""

from __future__ import annotations

import os

from sqlalchemy import select

from backend.models import IntentRow, SignedAmount
from backend.quotes import Wish, quote
from backend.sessions import end, get_session
from backend.settlement import _opening_failed, _settle, last_claimable
from chain import event_types
from protocol.control import Cause
from tests.service.bench_agent import Meter
from tests.service.inside import LOCK_MICRO, Inside


def quoted(inside: Inside, point: str) -> bytes:
    with inside.service.db.writing() as db:
        return quote(db, inside.service, Wish(point, inside.payer.address, inside.payer.address, True, None, LOCK_MICRO)).session


def opened_by_the_payer(inside: Inside, session: bytes) -> tuple[str, str]:
    inside.final(event_types.SessionOpened(session, inside.payer.address, inside.service.payee, LOCK_MICRO))
    with inside.service.db.reading() as db:
        row = get_session(db, session)
        return row.state, row.end_detail


def returned(inside: Inside, session: bytes) -> str:
    """The service closes it and the lock goes back: the state it comes to."""
    inside.final(event_types.SessionClosed(session, 0, LOCK_MICRO))
    with inside.service.db.writing() as db:
        row = get_session(db, session, lock=True)
        row.state = "settling"
        _settle(db, inside.service, row)
        return row.state


def test_two_quotes_on_one_charge_key_sent_to_the_chain_by_the_payer(inside: Inside) -> None:
    meter = Meter()
    point = inside.enrol(meter, vouchers=1)
    first, second = quoted(inside, point), quoted(inside, point)
    assert opened_by_the_payer(inside, first)[0] == "open"
    with inside.service.db.writing() as db:
        end(db, inside.service, get_session(db, first, lock=True), Cause.PAYER_STOP, "at once")
    state, why = opened_by_the_payer(inside, second)
    assert (state, why) == ("ended", "opened on the chain when its charge key served another session")
    assert returned(inside, second) == "settled"


def test_an_opening_the_chain_refused_to_us_and_took_from_the_payer_later(inside: Inside) -> None:
    meter = Meter()
    point = inside.enrol(meter)
    session = inside.session(meter, point, open_on_chain=False).session
    with inside.service.db.writing() as db:
        intent = db.scalars(select(IntentRow).where(IntentRow.reference == session)).one()
        intent.state, intent.reason, intent.reason_name = "refused", "BalanceTooLow", "BalanceTooLow"
        row = get_session(db, session, lock=True)
        _opening_failed(db, inside.service, row)
        assert row.state == "settled"
    state, why = opened_by_the_payer(inside, session)
    assert (state, why) == ("ended", "opened on the chain when our own transaction had been refused for good")
    assert returned(inside, session) == "settled"


def test_a_charge_beyond_the_payers_request_to_close_does_not_keep_the_ones_before_it_from_being_claimed(inside: Inside) -> None:
    meter = Meter()
    session = inside.session(meter, inside.enrol(meter)).connect()
    session.use(meter.frame(meter.record(rise=1_000)))
    good = session.row().charge_micro
    grace = session.terms.stop_grace_s
    inside.final(event_types.CloseRequested(session.session, os.urandom(20)), time_s=meter.clock)
    inside.at(grace + 10)
    session.use(meter.frame(meter.record(rise=1_000, seconds=grace)))  # the agent heard of it too late
    session.use(meter.frame(meter.record(rise=1_000)))
    with inside.service.db.reading() as db:
        row = get_session(db, session.session)
        amounts = list(db.scalars(select(SignedAmount).order_by(SignedAmount.amount_micro)))
        assert [a.claimable for a in amounts] == [True, True, True]
        found = last_claimable(db, row)
        assert found is not None
        assert found.amount_micro == amounts[1].amount_micro > good
        assert found.elapsed_s == (row.close_requested_at_s or 0) + grace - session.opened_at_s
