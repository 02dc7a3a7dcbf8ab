"""A small book of the escrow's money in SQLite, written from events only, as a service keeps one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from chain.event_types import ChargeClaimed, CreditNoteGiven, Deposited, LockRaised, SessionClosed, SessionOpened, Withdrawn
from chain.events import Batch, ChainEvent, EventReader
from chain.rpc import BlockRef

SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
  number INTEGER, block BLOB, log_index INTEGER, time_s INTEGER, hash BLOB, body TEXT, account BLOB, free_micro INTEGER,
  locked_micro INTEGER,
  PRIMARY KEY (number, log_index)
);
CREATE TABLE IF NOT EXISTS known (number INTEGER PRIMARY KEY, hash BLOB);
"""


class Book:
    """Applies batches, each in one transaction with the reader's position."""

    def __init__(self, path: Path | str = ":memory:") -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        self._db.close()

    def known(self) -> list[BlockRef]:
        return [BlockRef(*row) for row in self._db.execute("SELECT number, hash FROM known ORDER BY number")]

    def follow(self, reader: EventReader) -> list[Batch]:
        """Read until caught up."""
        batches = []
        while not batches or not batches[-1].caught_up:
            batches.append(reader.read(self.known()))
            self._apply(batches[-1])
        return batches

    def _apply(self, batch: Batch) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        if batch.rolled_back_to is not None:
            self._db.execute("DELETE FROM event WHERE number > ?", (batch.rolled_back_to,))
        for event in batch.events:
            account, free, locked = _effect(event)
            self._db.execute(
                "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*event.block, event.log_index, event.time_s, event.transaction, repr(event.body), account, free, locked),
            )
        self._db.execute("DELETE FROM known")
        self._db.executemany("INSERT INTO known VALUES (?, ?)", batch.known)
        self._db.execute("COMMIT")

    def rows(self) -> list[tuple[object, ...]]:
        """Everything, in order: two books that followed the same chain are equal."""
        return self._db.execute("SELECT * FROM event ORDER BY number, log_index").fetchall()

    def deposited_micro(self, account: bytes) -> int:
        """Deposits less withdrawals of an account."""
        total: int = self._db.execute("SELECT coalesce(sum(free_micro), 0) FROM event WHERE account = ?", (account,)).fetchone()[0]
        return total


def _effect(event: ChainEvent) -> tuple[bytes | None, int, int]:
    """(account, change of what it holds in the escrow, money locked): enough to see a doubled or lost event."""
    match event.body:
        case Deposited(account=account, amount_micro=amount):
            return account, amount, 0
        case Withdrawn(account=account, amount_micro=amount):
            return account, -amount, 0
        case SessionOpened(payer=account, lock_micro=lock) | LockRaised(session=account, total_lock_micro=lock):
            return account, 0, lock
        case SessionClosed() | ChargeClaimed() | CreditNoteGiven():
            return None, 0, 0
        case _:
            return None, 0, 0
