"""Orders to many points: a second operator, and one point after the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from backend.accounts.callers import Caller
from backend.accounts.roles import Role
from backend.errors import Conflict, Forbidden, NotFound
from backend.models import Act, Command, Device, Point
from backend.sessions import guard
from backend.supply import bulk
from tests.service.bench_agent import Meter
from tests.service.inside import Inside

ANN, BEN = (Caller(number, name, Role.OPERATOR, 1, 1) for number, name in ((1, "ann"), (2, "ben")))


def points(inside: Inside, count: int) -> list[str]:
    """Points of one operator: one enrolled, the rest beside it."""
    meter = Meter()
    inside.enrol(meter)
    with inside.service.db.writing() as db:
        first = db.scalars(select(Point)).one()
        values = {c.name: getattr(first, c.name) for c in Point.__table__.columns}
        for number in range(1, count):
            device = bytes([number]) * 32
            db.add(Device(operator_id=1, device=device, meter_key=device[:20], enrolment="not-asked", created_at_s=0, control_number=0))
            db.flush()
            db.add(Point(**values | {"id": f"p{number}", "device": device}))
        return [first.id, *(f"p{number}" for number in range(1, count))]


def commanded(inside: Inside) -> int:
    guard.round_(inside.service, inside.service.db.writing)
    with inside.service.db.reading() as db:
        return db.scalar(select(func.count(func.distinct(Command.device)))) or 0


def test_twenty_points_go_at_once_on_one_operators_word(inside: Inside) -> None:
    ids = points(inside, 20)
    with inside.service.db.writing() as db:
        assert bulk.order(db, inside.service, ANN, ids, "a flood").approved_at_s is not None
    assert commanded(inside) == 20


def test_more_wait_for_another_operator_and_are_staggered(new_inside: Callable[..., Inside]) -> None:
    inside = new_inside(supply={"disconnect_each_seconds": 10})
    service, ids = inside.service, points(inside, 21)
    with service.db.writing() as db:
        order_id = bulk.order(db, service, ANN, ids, "a flood").id
    assert commanded(inside) == 0
    with service.db.writing() as db, pytest.raises(Forbidden, match="another operator"):
        bulk.approve(db, service, ANN, order_id)
    with service.db.writing() as db, pytest.raises(NotFound):
        bulk.approve(db, service, BEN._replace(operator_id=2), order_id)
    with service.db.writing() as db:
        assert bulk.approve(db, service, BEN, order_id).approved_by == "ben"
    assert 1 <= commanded(inside) <= 2
    inside.at(105)
    assert 11 <= commanded(inside) <= 12
    inside.at(1_000)
    assert commanded(inside) == 21
    with service.db.reading() as db:
        assert {act.who for act in db.scalars(select(Act).where(Act.what == "disconnect commanded"))} == {"ann, ben"}


def test_an_order_nobody_approved_runs_out(inside: Inside) -> None:
    service, ids = inside.service, points(inside, 21)
    with service.db.writing() as db:
        order_id = bulk.order(db, service, ANN, ids, "a flood").id
    inside.at(3_700)
    with service.db.writing() as db, pytest.raises(Conflict, match="anew"):
        bulk.approve(db, service, BEN, order_id)
