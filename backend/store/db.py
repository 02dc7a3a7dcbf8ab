"""The database: SQLite by default, PostgreSQL by one setting (`database_url`).

Guaranteed: a commit that returned survives a power cut (SQLite in WAL with `synchronous=FULL`; PostgreSQL's own default). Writing
transactions on SQLite take the write lock at their first statement (`BEGIN IMMEDIATE`: a deferred one that reads and then writes fails at
once when another writes), and a second service process on the same SQLite file refuses to start. Not guaranteed: anything on a disk that
lies about syncing, or on a network file system.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session, sessionmaker

from ..errors import Misconfigured

BUSY_TIMEOUT_S = 20
"""How long a writer waits for SQLite's one write lock: far above the longest transaction, below an agent's patience."""


CHECKPOINT_PAGES = 4_000
"""Pages of the write-ahead log before they are copied into the file: 16 MiB. A batch of payments touches some 300 pages, much the same ones
each time: copied four times as seldom as by default, most are written once for many commits. Every commit is synced either way.
"""


def _on_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy says BEGIN itself (see `_on_begin`)
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # NORMAL loses acknowledged money at a power cut
    cursor.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("wattproof_read", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


class Database:
    """One engine and its two kinds of session: `writing()` and `reading()`. Both commit on leaving, roll back on an error."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._lock: IO[str] | None = None
        if self.is_sqlite:
            self.engine = create_engine(self.url, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False})
            event.listen(self.engine, "connect", _on_connect)
            event.listen(self.engine, "begin", _on_begin)
        else:
            self.engine = create_engine(self.url, pool_pre_ping=True, pool_size=20, max_overflow=20)
        # A class of its own, so that listeners of one database do not hear another's sessions.
        self.session_class: type[Session] = type("WattproofSession", (Session,), {})
        self._write = sessionmaker(self.engine, class_=self.session_class, expire_on_commit=False)
        options: dict[str, Any] = {"wattproof_read": True}
        if not self.is_sqlite:
            options["isolation_level"] = "REPEATABLE READ"  # as in SQLite: what one reader sees is of one moment
        self._read = sessionmaker(self.engine.execution_options(**options), expire_on_commit=False)

    def lock_process(self) -> None:
        """Take the file's process lock (SQLite only). Raises `Misconfigured` where another service holds it."""
        if not self.is_sqlite or self._lock is not None:
            return
        path = Path(f"{self.url.database}.lock")
        handle = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            handle.close()
            raise Misconfigured(
                f"another service process (pid {holder}) already runs on {self.url.database}. SQLite takes one: stop that one, or set "
                "database_url to a PostgreSQL server, which takes several.", "database_url",
            ) from None  # fmt: skip
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        self._lock = handle

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose work is committed, and durable, when the block is left without an error."""
        with self._write() as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that must not write (on SQLite it takes no lock)."""
        with self._read() as session:
            yield session

    def now_writable(self) -> None:
        """Raise unless a writing transaction can be begun and committed."""
        with self.writing() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        self.engine.dispose()
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def is_postgres(engine_or_session: Engine | Session) -> bool:
    """Whether statements may use PostgreSQL's row locks."""
    bind = engine_or_session.get_bind() if isinstance(engine_or_session, Session) else engine_or_session
    return bind.dialect.name == "postgresql"
