"""What the sandbox remembers: JSON documents in one SQLite file, each change committed and synced before it is answered.

Guaranteed: a change and the events about it are one transaction; an idempotency key answers what it answered the first time; after
`kill -9` or a power cut everything answered is there, and every event not yet delivered is delivered.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Document = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, kind TEXT NOT NULL, document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS objects_kind ON objects (kind, number);
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, request TEXT NOT NULL, status INTEGER NOT NULL, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries (
  event TEXT NOT NULL, endpoint TEXT NOT NULL, tries INTEGER NOT NULL, due REAL NOT NULL, done INTEGER NOT NULL,
  PRIMARY KEY (event, endpoint)
);
"""


class Store:
    """One file. All calls run inside `changing()`, which holds the only lock."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self.db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.executescript(_SCHEMA)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """One transaction: all or nothing, synced at the end."""
        with self._lock:
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self.db.execute("ROLLBACK")
                raise
            self.db.execute("COMMIT")

    @staticmethod
    def new_id(prefix: str) -> str:
        return f"{prefix}_{secrets.token_hex(12)}"

    def add(self, kind: str, document: Document) -> Document:
        self.db.execute("INSERT INTO objects (id, kind, document) VALUES (?, ?, ?)", (document["id"], kind, json.dumps(document)))
        return document

    def put(self, document: Document) -> None:
        self.db.execute("UPDATE objects SET document = ? WHERE id = ?", (json.dumps(document), document["id"]))

    def get(self, kind: str, identity: str) -> Document | None:
        row = self.db.execute("SELECT document FROM objects WHERE id = ? AND kind = ?", (identity, kind)).fetchone()
        return None if row is None else json.loads(row[0])

    def all(self, kind: str) -> list[Document]:
        """Oldest first."""
        rows = self.db.execute("SELECT document FROM objects WHERE kind = ? ORDER BY number", (kind,)).fetchall()
        return [json.loads(row[0]) for row in rows]

    def close(self) -> None:
        with self._lock:
            self.db.close()
