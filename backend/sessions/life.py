"""The life of a session in the service: opened by the payer's signature, running when measured, ended by a named cause, measured off.

Every function works inside its caller's transaction. What the chain decides arrives from `onchain.chainbooks`, at finality.
"""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from protocol.control import Action, Cause, SupplyConfirmation, SupplyState
from protocol.eip712 import digest, to_json
from protocol.errors import BadSignature
from protocol.keys import check_signature
from protocol.money import Payment

from .. import jsons
from ..context import Service
from ..devices.points import get_device, point_at
from ..errors import BadRequest, Conflict, NotFound
from ..evidence.frames import last_frame
from ..hexes import to_hex
from ..models import AgentMessage, Command, Confirmation, Device, Reading, SessionRow, SignedAmount
from ..people.alarms import AlarmKind, raise_alarm
from ..supply.commands import close_messages, command, command_channel, issue_grant, last_command, measured, send
from .states import LIVE, State, step

EVIDENCE_WAIT_S = 120
"""How long a measured disconnection waits for the last record: one record interval and a reconnection."""
MAX_PAGE = 200


def get_session(db: Session, session: bytes, operator_id: int | None = None, *, lock: bool = False) -> SessionRow:
    """A session by id. `lock`: to change it. Raises `NotFound`.

    Whoever changes a session holds its *device's* row: one lock, so nobody can wait for another in a circle.
    """
    row = db.get(SessionRow, session)
    if row is None or (operator_id is not None and row.operator_id != operator_id):
        raise NotFound("there is no such session here", "session")
    if lock:
        get_device(db, row.device, lock=True)
        db.refresh(row)  # what was read before the lock may be old
    return row


def live_session(db: Session, device: bytes, channel: int) -> SessionRow | None:
    """The one session that holds a point now."""
    held = (SessionRow.device == device, SessionRow.channel == channel, SessionRow.state.in_(LIVE), SessionRow.waits.is_(False))
    return db.scalar(select(SessionRow).where(*held))


def sessions_in(db: Session, *states: State) -> list[SessionRow]:
    return list(db.scalars(select(SessionRow).where(SessionRow.state.in_(states)).order_by(SessionRow.quoted_at_s)))


def list_sessions(db: Session, operator_id: int, after: bytes, limit: int, state: str | None = None) -> list[SessionRow]:
    """A page of sessions by id, without quotes nobody took."""
    query = select(SessionRow).where(SessionRow.operator_id == operator_id, SessionRow.session > after)
    query = query.where(SessionRow.state == state) if state else query.where(SessionRow.state != State.QUOTED)
    return list(db.scalars(query.order_by(SessionRow.session).limit(min(limit, MAX_PAGE))))


def opened(db: Session, service: Service, row: SessionRow, lock_micro: int, opened_at_s: int, block: int) -> None:
    """The lock is final on the chain: power may be granted."""
    row.lock_micro, row.opened_at_s, row.opened_block = lock_micro, opened_at_s, block
    behind = ", behind the session that runs" if row.waits else ""
    step(db, row, State.OPEN, f"locked on the chain in block {block}{behind}", service.now_s())
    if not row.waits:
        grant(db, service, row)


def grant(db: Session, service: Service, row: SessionRow) -> None:
    """Power may flow: the first grant of a session leaves, and with it what was paid meanwhile."""
    tip = last_frame(db, row.device)
    row.after_frame_id = 0 if tip is None else tip.id
    row.granted_at_s = service.now_s()
    issue_grant(db, service, row)
    paid = None if row.metered else highest_amount(db, row)
    if paid is not None:  # signed before the grant, when the agent knew nothing of the session
        payment = Payment(row.session, paid.amount_micro, paid.frame)
        send(db, service, row, "payment", to_json(payment) | {"signature": to_hex(paid.signature)})


def give_way(db: Session, service: Service, row: SessionRow) -> None:
    """A session holds its point no more: the one that waits behind it takes it. Call after the step that ended it."""
    query = select(SessionRow).where(SessionRow.follows == row.session, SessionRow.waits.is_(True), SessionRow.state.in_(LIVE))
    successor = db.scalar(query)
    if successor is None:
        return
    db.flush()  # the point is free in the table before it is taken
    successor.waits = False
    db.flush()
    if successor.state == State.OPEN:
        grant(db, service, successor)


def ready(db: Session, service: Service, row: SessionRow, nonce: bytes) -> str:
    """The agent took the grant and waits with a nonce. Returns why RECONNECT has to wait, or nothing."""
    if row.state != State.OPEN:
        return f"the session is {row.state}"
    earlier = last_command(db, row, Action.RECONNECT)
    if earlier is not None and row.ready_nonce == nonce:
        return ""  # the same again: the command is on its way
    row.ready_nonce = nonce
    close_messages(db, service, row, "grant")
    if not row.metered and highest_amount(db, row) is None:
        return "the first payment comes before power"
    command(db, service, row, Action.RECONNECT, nonce=nonce, attempt=1 if earlier is None else earlier.attempt + 1)
    return ""


def highest_amount(db: Session, row: SessionRow) -> SignedAmount | None:
    """The highest amount signed for a session."""
    return db.scalar(select(SignedAmount).where(SignedAmount.session == row.session).order_by(SignedAmount.amount_micro.desc()).limit(1))


def end(db: Session, service: Service, row: SessionRow, cause: Cause, detail: str) -> None:
    """End a session that holds power, or may. A session that ends already keeps its first cause."""
    if row.state not in (State.OPEN, State.RUNNING):
        return
    row.end_cause, row.end_detail = int(cause), detail[:300]
    now = service.now_s()
    never_commanded = last_command(db, row, Action.RECONNECT) is None
    close_messages(db, service, row, "grant", "payment")
    if row.state == State.OPEN and never_commanded:
        step(db, row, State.ENDED, f"{cause.name.lower()}: {detail}; power was never commanded on", now)
        if row.granted_at_s is not None:
            command(db, service, row, Action.DISCONNECT)  # the agent forgets its grant
        row.waits = False
        give_way(db, service, row)
        service.after_commit(db, lambda: service.hub.wake_loop("settlement"))
        return
    step(db, row, State.ENDING, f"{cause.name.lower()}: {detail}", now)
    command(db, service, row, Action.DISCONNECT)


def try_end(db: Session, service: Service, row: SessionRow) -> None:
    """An ending session has ended once supply is measured off and its last record is here (or was waited for)."""
    if row.state != State.ENDING or row.disconnected_at_s is None:
        return
    now = service.now_s()
    waited = now - row.disconnected_at_s > EVIDENCE_WAIT_S
    if not (row.stop_record_seen or row.running_at_s is None or row.blocked or row.disputed_from_s is not None or waited):
        return
    why = "measured disconnected" + ("" if row.stop_record_seen or row.running_at_s is None else "; its last record is not here")
    step(db, row, State.ENDED, why, now)
    give_way(db, service, row)
    service.after_commit(db, lambda: service.hub.wake_loop("settlement"))


def confirm(db: Session, service: Service, device: Device, said: SupplyConfirmation, signature: bytes) -> bool:
    """Take an agent's signed measurement. Returns False for a repeat. Call with the device locked."""
    if said.device != device.device:
        raise BadRequest("names another device than the path", "device")
    signed = digest(service.control, said)
    try:
        check_signature(signed, signature, device.meter_key)
    except BadSignature as error:
        raise BadRequest(f"{error}; the meter key signs confirmations in the control domain", "signature") from None
    if db.scalar(select(Confirmation.id).where(Confirmation.digest == signed)) is not None:
        return False
    now = service.now_s()
    db.add(Confirmation(
        operator_id=device.operator_id, device=device.device, channel=said.channel, session=said.session, state=said.state,
        cause=said.cause,
        measured_at_s=said.measured_at_s, document=jsons.dumps(to_json(said)), digest=signed, signature=signature, received_at_s=now,
    ))  # fmt: skip
    device.control_number = max(device.control_number, said.highest_number)
    if said.state == SupplyState.DISCONNECTED and said.measured_at_s < _last_connected_s(db, device, said.channel):
        return True  # history that arrives late: the point was measured connected after it
    _remember_supply(db, device, said)
    _answer_commands(db, service, device, said, now)
    row = db.get(SessionRow, said.session)
    if row is None or (row.device, row.channel) != (said.device, said.channel):
        row = None
    if said.state == SupplyState.CONNECTED:
        _connected(db, service, device, said, row)
    elif said.state == SupplyState.DISCONNECTED:
        _disconnected(db, service, device, said, row)
    else:
        _failed(db, service, device, said)
    return True


def _last_connected_s(db: Session, device: Device, channel: int) -> int:
    """When the channel was last measured connected, by the agent's own clock."""
    query = select(func.max(Confirmation.measured_at_s)).where(
        Confirmation.device == device.device, Confirmation.channel == channel, Confirmation.state == SupplyState.CONNECTED
    )
    return int(db.scalar(query) or 0)


def _remember_supply(db: Session, device: Device, said: SupplyConfirmation) -> None:
    point = point_at(db, device.device, said.channel)
    if point is None:
        raise NotFound(f"channel {said.channel} of this device is not a point", "channel")
    reading = db.get(Reading, point.id)
    if reading is not None and (reading.supply_at_s or 0) <= said.measured_at_s:
        reading.supply, reading.supply_at_s = said.state, said.measured_at_s


def _answer_commands(db: Session, service: Service, device: Device, said: SupplyConfirmation, now: int) -> None:
    """Which commands a measurement answers: the one it names, any it counts as obeyed, and any wish to disconnect it shows fulfilled."""
    wish = {SupplyState.CONNECTED: Action.RECONNECT, SupplyState.DISCONNECTED: Action.DISCONNECT}.get(SupplyState(said.state))
    query = select(Command).where(Command.device == device.device, Command.channel == said.channel, Command.state.in_(("sent", "failed")))
    for waiting in db.scalars(query).all():
        answered = waiting.digest == said.command or (
            said.state == SupplyState.DISCONNECTED and (waiting.action == Action.DISCONNECT or said.highest_number >= waiting.number)
        )
        if answered and wish == waiting.action:
            waiting.state, waiting.confirmed_at_s = "confirmed", now
            _message_done(db, service, waiting)
        elif answered and said.state == SupplyState.FAILED:
            waiting.state = "failed"
            _message_done(db, service, waiting)
        elif answered:
            waiting.state = "superseded"
            _message_done(db, service, waiting)


def _message_done(db: Session, service: Service, answered: Command) -> None:
    found = db.scalar(select(AgentMessage).where(
        AgentMessage.device == answered.device, AgentMessage.event == "command", AgentMessage.number == answered.number,
        AgentMessage.done_at_s.is_(None),
    ))  # fmt: skip
    if found is not None:
        found.done_at_s = service.now_s()


def _connected(db: Session, service: Service, device: Device, said: SupplyConfirmation, row: SessionRow | None) -> None:
    measured(db, service, device, said.channel, disconnected=False)
    if row is not None and row.state == State.OPEN:
        step(db, row, State.RUNNING, "measured connected", service.now_s())
    elif (row is None or row.state not in (State.RUNNING, State.ENDING)) and _pays_none(db, device, said.channel):
        place = f"device {to_hex(device.device)} channel {said.channel}"
        raise_alarm(db, service, device.operator_id, AlarmKind.SUPPLY_WITHOUT_SESSION, place, "supply is on and no session pays for it")
        command_channel(db, service, device.device, said.channel, said.session, Action.DISCONNECT)


def _pays_none(db: Session, device: Device, channel: int) -> bool:
    """Whether no session may hold supply. An agent answers a late command for an ended session with the supply of the next one."""
    other = live_session(db, device.device, channel)
    return other is None or other.state not in (State.RUNNING, State.ENDING)


def _disconnected(db: Session, service: Service, device: Device, said: SupplyConfirmation, row: SessionRow | None) -> None:
    measured(db, service, device, said.channel, disconnected=True)
    if row is None:
        return
    if row.state in (State.OPEN, State.RUNNING):
        if row.state == State.OPEN and said.cause == Cause.NONE:
            return  # the state an agent reports when it starts, before power was ever on
        row.end_cause = said.cause
        row.end_detail = "the agent disconnected"
        close_messages(db, service, row, "grant", "payment")
        step(db, row, State.ENDING, f"the agent disconnected: {_cause_name(said.cause)}", service.now_s())
        if said.cause == Cause.NONE:  # supply only dropped out: the agent holds the session until it is told, and takes no other
            command(db, service, row, Action.DISCONNECT)
    if row.state == State.ENDING:
        row.disconnected_at_s = said.measured_at_s
        try_end(db, service, row)


def _failed(db: Session, service: Service, device: Device, said: SupplyConfirmation) -> None:
    place = f"device {to_hex(device.device)} channel {said.channel}"
    detail = (
        f"the agent measures: auxiliary contact {'open' if said.auxiliary_open else 'closed'}, {said.voltage_millivolts} mV, "
        f"{said.power_milliwatts} mW"
    )
    waiting = db.scalar(select(Command).where(
        Command.device == device.device, Command.channel == said.channel, Command.state.in_(("sent", "failed"))
    ).order_by(Command.id.desc()).limit(1))  # fmt: skip
    kind = AlarmKind.NOT_CONNECTED if waiting is not None and waiting.action == Action.RECONNECT else AlarmKind.NOT_DISCONNECTED
    raise_alarm(db, service, device.operator_id, kind, place, detail)


def _cause_name(cause: int) -> str:
    return Cause(cause).name.lower() if cause in tuple(Cause) else f"cause {cause}"


def require_live(row: SessionRow) -> None:
    """Raise `Conflict` unless the session can still be topped up, paid or stopped."""
    if row.state not in LIVE:
        raise Conflict(f"the session is {row.state}", "session")
