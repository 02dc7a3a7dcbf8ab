"""A session that follows another of its payer at the same point, granted when that has ended."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from backend.errors import Conflict
from backend.models import AgentMessage
from backend.money.exposure import exposure
from backend.sessions.life import get_session
from backend.sessions.quotes import Wish, quote
from backend.sessions.signed import open_session, stop
from chain import event_types
from protocol.control import Action, SupplyState
from protocol.eip712 import digest
from protocol.evidence import Reason
from protocol.keys import Signer
from protocol.money import Open, RequestClose
from tests.service.bench_agent import Meter
from tests.service.inside import LOCK_MICRO, Inside, Running


def quoted(inside: Inside, point_id: str, follows: bytes | None, payer: Signer | None = None) -> tuple[bytes, str]:
    who = (payer or inside.payer).address
    with inside.service.db.writing() as db:
        row = quote(db, inside.service, Wish(point_id, who, who, True, None, LOCK_MICRO, follows=follows))
        return row.session, row.quote_id


def opened(inside: Inside, session: bytes, quote_id: str, *, on_chain: bool = True) -> None:
    now = inside.service.now_s()
    signature = inside.payer.sign(digest(inside.service.money, Open(session, LOCK_MICRO, now + 600)))
    with inside.service.db.writing() as db:
        open_session(db, inside.service, quote_id, (LOCK_MICRO, now + 600), signature)
    if on_chain:
        inside.final(event_types.SessionOpened(session, inside.payer.address, inside.service.payee, LOCK_MICRO), time_s=now)


def sent(inside: Inside, session: bytes) -> list[str]:
    with inside.service.db.reading() as db:
        return [m.event for m in db.scalars(select(AgentMessage).where(AgentMessage.session == session).order_by(AgentMessage.id))]


def used(running: Running, rise: int) -> None:
    running.meter.clock += 1
    running.use(running.meter.frame(running.meter.record(rise=rise, power=3_600_000)))


def ended(running: Running) -> None:
    """Commanded off, measured off, and its last record."""
    order = running.commands()[-1]
    assert order.action == Action.DISCONNECT
    running.highest = order.number
    running.confirm(SupplyState.DISCONNECTED, command=order.digest)
    running.use(running.meter.frame(running.meter.record(Reason.STOP)))


def request_close(inside: Inside, running: Running) -> None:
    message = RequestClose(running.session, inside.service.now_s() + 600)
    with inside.service.db.writing() as db:
        row = get_session(db, running.session, lock=True)
        stop(db, inside.service, row, message, inside.payer.sign(digest(inside.service.money, message)))


def test_the_next_session_takes_over_where_the_first_ended(inside: Inside) -> None:
    meter = Meter()
    point_id = inside.enrol(meter)
    first = inside.session(meter, point_id).connect()
    used(first, 1_000)
    with pytest.raises(Conflict, match="taken"):
        quoted(inside, point_id, None)
    with pytest.raises(Conflict, match="not that one of this payer"):
        quoted(inside, point_id, first.session, Signer.create())
    with pytest.raises(Conflict, match="not that one of this payer"):
        quoted(inside, point_id, bytes(31) + b"\1")
    session, quote_id = quoted(inside, point_id, first.session)
    rival, rival_quote = quoted(inside, point_id, first.session)
    opened(inside, session, quote_id)
    with pytest.raises(Conflict, match="waits for the end of this one already"):
        opened(inside, rival, rival_quote, on_chain=False)
    second = Running(inside, meter, session)
    assert (second.state, second.row().waits, sent(inside, session)) == ("open", True, [])  # the agent hears nothing of it yet
    assert first.state == "running"
    used(first, 500)
    with inside.service.db.reading() as db:
        assert exposure(db, inside.service, 1).sessions == 2
    request_close(inside, first)
    ended(first)
    assert first.state == "ended"
    assert (second.row().waits, sent(inside, session)) == (False, ["grant"])
    second.connect()
    used(second, 2_000)
    assert (first.row().energy_milliwatt_hours, second.row().energy_milliwatt_hours) == (1_500, 2_000)
    assert second.row().first_sequence == (first.row().last_sequence or 0) + 1  # on the register value the first stopped at
    assert inside.alarms() == []


def test_a_follower_opens_also_when_the_first_has_ended_meanwhile(inside: Inside) -> None:
    meter = Meter()
    point_id = inside.enrol(meter)
    first = inside.session(meter, point_id).connect()
    session, quote_id = quoted(inside, point_id, first.session)
    opened(inside, session, quote_id, on_chain=False)
    request_close(inside, first)
    ended(first)
    inside.final(event_types.SessionOpened(session, inside.payer.address, inside.service.payee, LOCK_MICRO))
    assert sent(inside, session) == ["grant"]


def test_a_follower_that_is_stopped_while_it_waits_touches_nothing(inside: Inside) -> None:
    meter = Meter()
    point_id = inside.enrol(meter)
    first = inside.session(meter, point_id).connect()
    session, quote_id = quoted(inside, point_id, first.session)
    opened(inside, session, quote_id)
    waiting = Running(inside, meter, session)
    request_close(inside, waiting)
    assert (waiting.state, waiting.commands(), first.state) == ("ended", [], "running")
    session, quote_id = quoted(inside, point_id, first.session)  # and another may wait in its place
    opened(inside, session, quote_id)
    used(first, 1_000)
    assert first.row().energy_milliwatt_hours == 1_000
