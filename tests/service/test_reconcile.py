"""Reconciliation finds what does not agree, names it and its place, and says so when it is over."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from backend.models import Account, SessionRow
from backend.money import reconcile
from protocol.control import Cause, SupplyState
from protocol.evidence import Reason
from tests.service.bench_agent import Meter
from tests.service.inside import Inside, Running


def ended(inside: Inside) -> Running:
    meter = Meter()
    session = inside.session(meter, inside.enrol(meter)).connect()
    session.use(meter.frame(meter.record(rise=1_000)))
    session.use(meter.frame(meter.record(Reason.STOP, rise=0)))
    session.confirm(SupplyState.DISCONNECTED, cause=Cause.LOAD_FINISHED)
    assert session.state == "ended"
    return session


def names(inside: Inside) -> list[str]:
    return [d.name for d in reconcile._books(inside.service) + reconcile._energy_and_evidence(inside.service)]


def test_honest_books_agree(inside: Inside) -> None:
    ended(inside)
    assert names(inside) == []


@pytest.mark.parametrize(
    ("column", "expected"), [("bill_micro", {"bill", "session-ledger"}), ("energy_milliwatt_hours", {"bill", "session-energy"})]
)
def test_a_bill_that_its_frames_do_not_give_is_named(inside: Inside, column: str, expected: set[str]) -> None:
    session = ended(inside)
    with inside.service.db.writing() as db:
        db.execute(update(SessionRow).where(SessionRow.session == session.session).values({column: getattr(SessionRow, column) + 1}))
    assert set(names(inside)) == expected


def test_money_that_appears_is_named(inside: Inside) -> None:
    ended(inside)
    with inside.service.db.writing() as db:
        db.execute(update(Account).where(Account.kind == "sales").values(credits_posted=Account.credits_posted + 1))
    assert "books-unbalanced" in names(inside)
    with inside.service.db.writing() as db:
        db.execute(update(Account).where(Account.kind == "sales").values(credits_posted=Account.credits_posted - 1))
    assert names(inside) == []
