"""Several processes on PostgreSQL: what one of them writes for an agent whose stream another holds is noticed here, four times a second.

On SQLite there is one process, and its hub hears of everything by itself.
"""

from __future__ import annotations

import threading

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from ..context import Service
from ..models import AgentMessage, AnchorLinkRow

log = structlog.get_logger()
POLL_S = 0.25
"""Adds at most this to a command that came in through another process."""
DEVICES_A_QUERY = 500


class Notices(threading.Thread):
    """Wakes this process's streams when another process wrote something for them. Needs no lease: each process has its own streams."""

    def __init__(self, service: Service) -> None:
        super().__init__(name="notices", daemon=True)
        self._service = service
        self._last: dict[bytes, int] = {}
        self._head = 0

    def run(self) -> None:
        while not self._service.hub.stopping.wait(POLL_S):
            try:
                with self._service.db.reading() as db:
                    self._look(db)
            except SQLAlchemyError as error:
                log.warning("notices not read", error=str(error))

    def _look(self, db: Session) -> None:
        connected = sorted(self._service.hub.connected())
        for start in range(0, len(connected), DEVICES_A_QUERY):
            devices = connected[start : start + DEVICES_A_QUERY]
            query = (
                select(AgentMessage.device, func.max(AgentMessage.id))
                .where(AgentMessage.device.in_(devices), AgentMessage.done_at_s.is_(None)).group_by(AgentMessage.device)
            )  # fmt: skip
            for device, newest in db.execute(query).all():
                if newest > self._last.get(device, 0):
                    self._last[device] = newest
                    self._service.hub.wake(device)
        head = db.scalar(select(func.max(AnchorLinkRow.id))) or 0
        if head != self._head:
            self._head = head
            self._service.hub.wake_all()
