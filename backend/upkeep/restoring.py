"""A restored backup is older than the world. It catches up before it acts: events from the chain, frames from the agents.

While the mark stands, the loops that send, anchor, claim, close and command do not run; reading the chain and taking frames do. It is taken
away once the chain is read to its head and every agent with an unsettled session has sent what it holds (it sends again from the `have`
of its stream), or the stated wait is over: an agent that is gone cannot hold other people's money, and an alarm names it.

What a backup cannot give back: sessions that were quoted and opened after it. Their money returns to the payers after the delay in their
terms, and `foreign-session` alarms name them.
"""

from __future__ import annotations

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from ..context import Service
from ..models import HOUSE, Device, FrameRow, SessionRow
from ..onchain.outbox import Writing
from ..people.alarms import AlarmKind, raise_alarm
from ..sessions.states import State
from ..store.facts import CHAIN, RESTORED, chain_status, forget, recall, remember

log = structlog.get_logger()
NUMBER_GAP = 10_000
"""Commands that may have been numbered after the backup: their numbers must not be used again. Far below the step an agent takes."""
QUIET_S = 10
"""An agent has caught up when its stream is open for so long and the last old frame came before that: it sends batch after batch."""
OLD_S = 60
"""A frame that ended so long before it arrived was caught up, not live."""


def mark_restored(service: Service) -> None:
    """What a database needs to know that it is old: numbers to skip, a chain to read, agents to wait for."""
    with service.db.writing() as db:
        db.execute(update(Device).values(control_number=Device.control_number + NUMBER_GAP))
        unsettled = select(SessionRow.device).where(SessionRow.state.not_in((State.QUOTED, State.SETTLED))).distinct()
        devices = ["0x" + device.hex() for device in db.scalars(unsettled)]
        remember(db, RESTORED, {"atS": service.now_s(), "devices": devices})
        status = chain_status(db)
        if status is not None:
            remember(db, CHAIN, status._replace(caught_up=False)._asdict())


def round_(service: Service, writing: Writing) -> None:
    """Take the mark away when chain and agents have caught up."""
    with service.db.reading() as db:
        mark = recall(db, RESTORED)
        if mark is None:
            return
        status = chain_status(db)
        if status is None or not status.caught_up:
            return
        waiting = [device for device in mark["devices"] if not _caught_up(db, service, bytes.fromhex(device[2:]))]
    over = service.now_s() > mark["atS"] + service.settings.restore_wait_seconds
    if waiting and not over:
        if waiting != mark["devices"]:
            with writing() as db:
                remember(db, RESTORED, mark | {"devices": waiting})
        return
    with writing() as db:
        for device in waiting:
            detail = "this agent was not heard after the backup was restored; what only it holds is not in the books"
            raise_alarm(db, service, HOUSE, AlarmKind.RESTORED_INCOMPLETE, f"device {device}", detail)
        forget(db, RESTORED)
    log.info("restored backup has caught up", missing=len(waiting))


def _caught_up(db: Session, service: Service, device: bytes) -> bool:
    if service.hub.connected_for_s(device) < QUIET_S:
        return False
    old = select(func.max(FrameRow.received_at_s)).where(FrameRow.device == device, FrameRow.end_s < FrameRow.received_at_s - OLD_S)
    last_old = db.scalar(old)
    return last_old is None or service.now_s() - last_old >= QUIET_S
