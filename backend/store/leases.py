"""Fenced leases: one process at a time runs a loop, and what a process does after it lost the lease is not kept.

Every transaction of a loop renews the lease first, in the same transaction. The update finds the row only while holder and fence are still
ours, and locks it until the commit; a process that slept too long therefore fails before it changes anything.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..context import Service
from ..errors import LeaseLost
from ..models import HOUSE, Lease

LEASE_S = 15
"""Longer than any round's longest transaction; a dead process's loops are taken over after this time."""


class LeaseHolder:
    """This process's claim on one loop."""

    def __init__(self, service: Service, name: str) -> None:
        self._service, self._name = service, name
        self._holder = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._fence: int | None = None
        self._until_s = 0

    def take(self) -> bool:
        """Take or keep the lease. False while another process holds it."""
        now = self._service.now_s()
        if self._fence is not None and self._until_s - now > LEASE_S // 2:
            return True  # renewed lately, and every transaction renews it again
        try:
            with self._service.db.writing() as db:
                row = db.scalar(select(Lease).where(Lease.name == self._name).with_for_update())
                if row is None:
                    db.execute(insert(Lease).values(
                        name=self._name, operator_id=HOUSE, holder=self._holder, fence=1, until_s=now + LEASE_S
                    ))  # fmt: skip
                    self._fence = 1
                elif row.holder == self._holder and row.fence == self._fence:
                    row.until_s = now + LEASE_S
                elif row.until_s < now:
                    row.holder, row.fence, row.until_s = self._holder, row.fence + 1, now + LEASE_S
                    self._fence = row.fence
                else:
                    self._fence = None
                    return False
                self._until_s = now + LEASE_S
        except IntegrityError:  # another process made the row at the same moment
            return False
        return True

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that is refused, with `LeaseLost`, unless this process still holds the lease."""
        with self._service.db.writing() as db:
            renewed = db.execute(
                update(Lease)
                .where(Lease.name == self._name, Lease.holder == self._holder, Lease.fence == (self._fence or 0))
                .values(until_s=self._service.now_s() + LEASE_S)
                .returning(Lease.fence)
                .execution_options(synchronize_session=False)
            ).first()
            if renewed is None:
                self._fence = None
                raise LeaseLost(f"the lease of loop {self._name!r} went to another process", self._name)
            yield db
        self._until_s = self._service.now_s() + LEASE_S

    def give_up(self) -> None:
        """Let others take it at once (a clean stop)."""
        if self._fence is None:
            return
        with self._service.db.writing() as db:
            db.execute(
                update(Lease).where(Lease.name == self._name, Lease.holder == self._holder, Lease.fence == self._fence).values(until_s=0)
            )
        self._fence = None


def release_all(service: Service) -> None:
    """On SQLite, where this process is the only one: leases of a process that died need not run out."""
    if service.db.is_sqlite:
        with service.db.writing() as db:
            db.execute(update(Lease).values(until_s=0))
