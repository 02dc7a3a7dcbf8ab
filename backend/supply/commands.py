"""Grants and supply commands: numbered, in the database before they are sent, sent again until a *measured* confirmation answers.

DISCONNECT is retried under a new number, sooner first and then each `RETRY_MOST_S`, and an alarm tells people from the second attempt on.
RECONNECT answers a nonce of the agent, so it cannot be repeated: a renewed grant makes the agent say `ready` again.
"""

from __future__ import annotations

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from protocol.control import Action, SessionGrant, SupplyCommand
from protocol.eip712 import digest, from_json, to_json
from protocol.hashing import ZERO32
from protocol.money import Terms

from .. import jsons
from ..context import Service
from ..devices.points import get_device, get_point, tariff_of
from ..hexes import to_hex
from ..models import AgentMessage, Command, Device, SessionRow
from ..people.alarms import AlarmKind, clear_alarm, raise_alarm
from ..sessions.states import State

log = structlog.get_logger()
RECONNECT_VALID_S = 30
"""RECONNECT expires in seconds: an old one must never close a contact."""
CONFIRM_WITHIN_S = 5
"""An agent that is heard measures within this time (the line drivers' own deadline); then the command is repeated."""
RETRY_MOST_S = 60
"""The longest pause between attempts at a disconnection: it is never given up."""
CONNECT_ATTEMPTS = 3
"""RECONNECTs before a point counts as faulty: a contact that jams three times needs a person."""


def next_number(db: Session, device: Device) -> int:
    """The next number of the device's control key. Call with the device locked."""
    device.control_number += 1
    db.flush()
    return device.control_number


def issue_grant(db: Session, service: Service, row: SessionRow) -> AgentMessage:
    """A grant with the session's present lock; a later one renews it or raises the lock, and takes the place of the one before."""
    device = get_device(db, row.device, lock=True)
    terms = terms_of(row)
    credit = (0, 0) if row.metered else _payment_credit(service)
    grant = SessionGrant(
        terms, service.deployment.chain_id, service.deployment.escrow, row.lock_micro, *credit, terms.agreement_hash,
        next_number(db, device), terms.latest_end_s,
    )  # fmt: skip
    signature = service.keys.control.of(row.device, device.control_generation).sign(digest(service.control, grant))
    point = get_point(db, row.point_id)
    data = {
        "grant": to_json(grant), "signature": to_hex(signature),
        "tariff": tariff_of(db, service, row.operator_id, row.tariff_hash).document,
        "policy": jsons.loads(row.policy), "pointSalt": to_hex(row.point_salt), "openedAtS": row.opened_at_s, "device": to_hex(row.device),
        "channel": point.channel,
    }  # fmt: skip
    close_messages(db, service, row, "grant")
    return send(db, service, row, "grant", data, grant.number)


def _payment_credit(service: Service) -> tuple[int, int]:
    terms = service.settings.terms
    return terms.payment_credit_micro, terms.payment_credit_milliwatt_hours


def command(
    db: Session, service: Service, row: SessionRow, action: Action, *, nonce: bytes = ZERO32, attempt: int = 1
) -> Command:  # fmt: skip
    """Command a session's point. Older unanswered commands of the session are superseded."""
    return command_channel(db, service, row.device, row.channel, row.session, action, nonce=nonce, attempt=attempt)


def command_channel(
    db: Session, service: Service, device_id: bytes, channel: int, session: bytes, action: Action, *, nonce: bytes = ZERO32,
    attempt: int = 1
) -> Command:  # fmt: skip
    """Command a channel, whether or not a session runs there."""
    device, now = get_device(db, device_id, lock=True), service.now_s()
    older = select(Command.id).where(Command.device == device_id, Command.channel == channel, Command.state.in_(("sent", "failed")))
    for command_id in db.scalars(older).all():
        db.execute(update(Command).where(Command.id == command_id).values(state="superseded"))
    db.execute(
        update(AgentMessage)
        .where(AgentMessage.device == device_id, AgentMessage.event == "command", AgentMessage.session == session,
               AgentMessage.done_at_s.is_(None))
        .values(done_at_s=now)
    )  # fmt: skip
    expires = now + RECONNECT_VALID_S if action == Action.RECONNECT else 0
    order = SupplyCommand(device_id, channel, int(action), session, next_number(db, device), nonce, expires)
    signed = digest(service.control, order)
    signature = service.keys.control.of(device_id, device.control_generation).sign(signed)
    row = Command(
        operator_id=device.operator_id, device=device_id, channel=channel, control_generation=device.control_generation,
        number=order.number,
        action=int(action), session=session, digest=signed, state="sent", attempt=attempt, created_at_s=now,
        retry_at_s=now + min(CONFIRM_WITHIN_S * attempt, RETRY_MOST_S),
    )  # fmt: skip
    db.add(row)
    message = AgentMessage(
        operator_id=device.operator_id, device=device_id, event="command", session=session, number=order.number,
        data=jsons.dumps(to_json(order) | {"signature": to_hex(signature)}), created_at_s=now,
    )  # fmt: skip
    db.add(message)
    db.flush()
    service.wake(db, device_id)
    return row


def send(db: Session, service: Service, row: SessionRow, event: str, data: dict[str, object], number: int | None = None) -> AgentMessage:
    """Put an event on the stream of a session's agent."""
    message = AgentMessage(
        operator_id=row.operator_id, device=row.device, event=event, session=row.session, number=number, data=jsons.dumps(data),
        created_at_s=service.now_s(),
    )  # fmt: skip
    db.add(message)
    db.flush()
    service.wake(db, row.device)
    return message


def close_messages(db: Session, service: Service, row: SessionRow, *events: str) -> None:
    """Events of a session that need not be sent any more."""
    db.execute(
        update(AgentMessage)
        .where(AgentMessage.device == row.device, AgentMessage.session == row.session, AgentMessage.event.in_(events),
               AgentMessage.done_at_s.is_(None))
        .values(done_at_s=service.now_s())
    )  # fmt: skip


def terms_of(row: SessionRow) -> Terms:
    return from_json(Terms, jsons.loads(row.terms))


def last_metered_s(row: SessionRow) -> int:
    """The last second the terms let anybody meter: the escrow pays no charge that counts later ones."""
    terms = terms_of(row)
    if row.close_requested_at_s is None:
        return terms.latest_end_s
    return min(terms.latest_end_s, row.close_requested_at_s + terms.stop_grace_s)


def waiting_messages(db: Session, device: bytes, after_id: int) -> list[AgentMessage]:
    """What is to be sent on a device's stream, in the order of its numbers (ids rise with them)."""
    query = select(AgentMessage).where(AgentMessage.device == device, AgentMessage.done_at_s.is_(None), AgentMessage.id > after_id)
    return list(db.scalars(query.order_by(AgentMessage.id)))


def last_command(db: Session, row: SessionRow, action: Action) -> Command | None:
    query = select(Command).where(Command.session == row.session, Command.action == int(action))
    return db.scalar(query.order_by(Command.id.desc()).limit(1))


def due_commands(db: Session, now_s: int) -> list[Command]:
    """Commands nobody confirmed in time."""
    query = select(Command).where(Command.state.in_(("sent", "failed")), Command.retry_at_s <= now_s).order_by(Command.id).limit(500)
    return list(db.scalars(query))


def retry(db: Session, service: Service, late: Command, row: SessionRow | None) -> None:
    """Repeat what was not confirmed, and tell people."""
    place = f"device {to_hex(late.device)} channel {late.channel}"
    if late.action == Action.DISCONNECT:
        if row is None or row.disconnected_at_s is None:  # else it is measured off, and only the agent has not been told of the end
            connected = late.device in service.hub.connected()
            raise_alarm(
                db, service, late.operator_id, AlarmKind.NOT_DISCONNECTED, place,
                f"no measured disconnection after attempt {late.attempt}; the agent is {'connected' if connected else 'not heard'}",
            )  # fmt: skip
        command_channel(db, service, late.device, late.channel, late.session, Action.DISCONNECT, attempt=late.attempt + 1)
        return
    late.state = "superseded"
    if row is None or row.state != State.OPEN:
        return
    if late.attempt >= CONNECT_ATTEMPTS:
        raise_alarm(db, service, late.operator_id, AlarmKind.NOT_CONNECTED, place, f"not connected after {late.attempt} attempts")
        return
    row.ready_nonce = None
    issue_grant(db, service, row)


def measured(db: Session, service: Service, device: Device, channel: int, *, disconnected: bool) -> None:
    """A measurement answers what was commanded: the alarm ends."""
    kind = AlarmKind.NOT_DISCONNECTED if disconnected else AlarmKind.NOT_CONNECTED
    clear_alarm(db, service, device.operator_id, kind, f"device {to_hex(device.device)} channel {channel}")
