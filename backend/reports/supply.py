"""What was commanded at a point and what was measured: one list, the newest first."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from protocol.control import Action, Cause, SupplyState

from .. import jsons
from ..models import Command, Confirmation, Point

MAX_LINES = 50


class SupplyLine(NamedTuple):
    """A command or a confirmation, in words."""

    at_s: int
    what: str
    state: str
    detail: str
    session: bytes


def cause_words(cause: int) -> str:
    """Why supply ended; empty where it did not."""
    if cause == Cause.NONE:
        return ""
    return Cause(cause).name.lower().replace("_", " ") if cause in tuple(Cause) else f"cause {cause}"


def of_point(db: Session, operator_id: int, point: Point, limit: int = MAX_LINES) -> list[SupplyLine]:
    """Commands to this point and its agent's confirmations."""
    at_point = (Command.operator_id == operator_id, Command.device == point.device, Command.channel == point.channel)
    commands = db.scalars(select(Command).where(*at_point).order_by(Command.id.desc()).limit(limit))
    lines = [command_line(command) for command in commands]
    at_point = (Confirmation.operator_id == operator_id, Confirmation.device == point.device, Confirmation.channel == point.channel)
    confirmations = db.scalars(select(Confirmation).where(*at_point).order_by(Confirmation.id.desc()).limit(limit))
    lines += [confirmation_line(said) for said in confirmations]
    return sorted(lines, key=lambda line: line.at_s, reverse=True)[:limit]


def of_session(db: Session, session: bytes) -> list[SupplyLine]:
    """Commands and confirmations of one session, in the order of time."""
    lines = [command_line(command) for command in db.scalars(select(Command).where(Command.session == session).order_by(Command.id))]
    lines += [
        confirmation_line(said)
        for said in db.scalars(select(Confirmation).where(Confirmation.session == session).order_by(Confirmation.id))
    ]
    return sorted(lines, key=lambda line: line.at_s)


def command_line(command: Command) -> SupplyLine:
    what = "disconnect commanded" if command.action == Action.DISCONNECT else "reconnect commanded"
    again = f", attempt {command.attempt}" if command.attempt > 1 else ""
    return SupplyLine(command.created_at_s, what, command.state, f"number {command.number}{again}", command.session)


def confirmation_line(said: Confirmation) -> SupplyLine:
    measured = jsons.loads(said.document)
    state = {SupplyState.DISCONNECTED: "disconnected", SupplyState.CONNECTED: "connected", SupplyState.FAILED: "switching failed"}.get(
        SupplyState(said.state), "unknown"
    )
    contact = "open" if measured["auxiliaryOpen"] else "closed"
    detail = f"auxiliary contact {contact}, {measured['voltageMillivolts']} mV, {measured['powerMilliwatts']} mW"
    cause = cause_words(said.cause)
    return SupplyLine(said.measured_at_s, "measured", state, f"{detail}{'; ' + cause if cause else ''}", said.session)
