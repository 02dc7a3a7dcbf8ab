"""An outbox store in SQLite, as a service would keep one: every method commits before it returns."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from chain.calls import Call
from chain.errors import Reverted
from chain.outbox import Intent, Mined, Outcome
from chain.rpc import BlockRef
from chain.transactions import SignedTransaction

SCHEMA = """
CREATE TABLE IF NOT EXISTS intent (
  id TEXT PRIMARY KEY, position INTEGER, destination BLOB, data BLOB, what TEXT, mined_hash BLOB, mined_number INTEGER,
  mined_block BLOB, succeeded INTEGER, gas_used INTEGER, price_wei INTEGER, outcome TEXT, settled INTEGER DEFAULT 0,
  released INTEGER DEFAULT 0
);
CREATE TABLE IF NOT EXISTS attempt (
  intent TEXT, position INTEGER PRIMARY KEY AUTOINCREMENT, nonce INTEGER, hash BLOB, raw BLOB, gas_limit INTEGER, fee_wei INTEGER,
  tip_wei INTEGER, dead INTEGER DEFAULT 0
);
"""


class SqliteStore:
    """`chain.outbox.Store` for one sender, in a file."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        self._db.close()

    def add(self, intent_id: str, call: Call) -> None:
        self._db.execute(
            "INSERT INTO intent (id, position, destination, data, what) VALUES (?, (SELECT count(*) FROM intent), ?, ?, ?)",
            (intent_id, call.to, call.data, call.what),
        )

    def open_intents(self, sender: bytes) -> Sequence[Intent]:
        rows = self._db.execute(
            "SELECT id, destination, data, what, mined_hash, mined_number, mined_block, succeeded, gas_used, price_wei "
            "FROM intent WHERE outcome IS NULL ORDER BY position"
        )
        return [
            Intent(
                row[0], Call(row[1], row[2], row[3]), tuple(self.attempts(row[0])),
                None if row[4] is None else Mined(row[4], BlockRef(row[5], row[6]), bool(row[7]), row[8], row[9]),
            )
            for row in rows.fetchall()
        ]  # fmt: skip

    def attempts(self, intent_id: str) -> list[SignedTransaction]:
        rows = self._db.execute(
            "SELECT nonce, hash, raw, gas_limit, fee_wei, tip_wei FROM attempt WHERE intent = ? AND NOT dead ORDER BY position",
            (intent_id,),
        )
        return [SignedTransaction(*row) for row in rows.fetchall()]

    def save_attempt(self, intent_id: str, attempt: SignedTransaction) -> None:
        self._db.execute(
            "INSERT INTO attempt (intent, nonce, hash, raw, gas_limit, fee_wei, tip_wei) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (intent_id, *attempt),
        )

    def save_mined(self, intent_id: str, mined: Mined | None) -> None:
        self._db.execute(
            "UPDATE intent SET mined_hash=?, mined_number=?, mined_block=?, succeeded=?, gas_used=?, price_wei=? "
            "WHERE id=? AND outcome IS NULL",
            (*_columns(mined), intent_id),
        )

    def release(self, intent_id: str) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("UPDATE attempt SET dead = 1 WHERE intent = ?", (intent_id,))
        self._db.execute("UPDATE intent SET mined_hash = NULL, released = released + 1 WHERE id = ?", (intent_id,))
        self._db.execute("COMMIT")

    def settle(self, intent_id: str, outcome: Outcome, mined: Mined | None, reason: Reverted | None) -> None:
        self._db.execute(
            "UPDATE intent SET mined_hash=?, mined_number=?, mined_block=?, succeeded=?, gas_used=?, price_wei=?, "
            "outcome=?, settled = settled + 1 WHERE id=?",
            (*_columns(mined), outcome.value, intent_id),
        )

    def outcomes(self) -> dict[str, str | None]:
        return dict(self._db.execute("SELECT id, outcome FROM intent ORDER BY position").fetchall())

    def settled_more_than_once(self) -> list[str]:
        return [row[0] for row in self._db.execute("SELECT id FROM intent WHERE settled > 1")]

    def mined(self, intent_id: str) -> BlockRef | None:
        row = self._db.execute("SELECT mined_number, mined_block FROM intent WHERE id = ? AND mined_hash NOT NULL", (intent_id,)).fetchone()
        return None if row is None else BlockRef(*row)

    def released(self, intent_id: str) -> int:
        count: int = self._db.execute("SELECT released FROM intent WHERE id = ?", (intent_id,)).fetchone()[0]
        return count


def _columns(mined: Mined | None) -> tuple[object, ...]:
    if mined is None:
        return (None,) * 6
    return (mined.transaction, *mined.block, mined.succeeded, mined.gas_used, mined.price_wei)
