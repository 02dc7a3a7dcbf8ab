"""Online backup and restore. A restored backup is old: it is marked so, and nothing acts before chain and agents have caught it up.

SQLite: its own online backup, page by page, while the service writes. PostgreSQL: pg_dump and pg_restore, then `restore --mark`.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from .context import Service
from .db import Database
from .errors import Misconfigured
from .keyring import write_private
from .migrate import migrate
from .restoring import mark_restored
from .settings import load_settings


def mark(config: Path) -> None:
    """Say that the database was restored by other means (pg_restore)."""
    service = Service.from_settings(load_settings(config))
    service.db.lock_process()
    migrate(service.db)
    mark_restored(service)
    service.db.close()
    print("marked as restored; the service catches up from chain and agents before it acts")


def _sqlite_path(config: Path) -> Path:
    settings = load_settings(config)
    db = Database(settings.database)
    if not db.is_sqlite or db.url.database is None:
        raise Misconfigured("this backs up SQLite; for PostgreSQL use pg_dump and pg_restore", "database_url")
    return Path(db.url.database)


def backup(config: Path, out: Path) -> None:
    """Copy the database as of one moment into a new 0600 file, synced."""
    path = _sqlite_path(config)
    if not path.exists():
        raise Misconfigured(f"{path} does not exist: there is nothing to back up yet", "database_url")
    write_private(out, "")
    with sqlite3.connect(path) as source, sqlite3.connect(out) as target:
        source.backup(target, pages=256, sleep=0.01)
    source.close()
    target.close()
    _sync(out)
    print(f"backed up {path} to {out}")


def restore(config: Path, source: Path) -> None:
    """Put a backup in place of the database, marked as restored. The old database is kept beside it."""
    path = _sqlite_path(config)
    if not source.exists():
        raise Misconfigured(f"{source} does not exist", "--from")
    service = Service.from_settings(load_settings(config))
    service.db.lock_process()  # a running service must not lose its database under its feet
    for suffix in ("", "-wal", "-shm"):
        old = Path(f"{path}{suffix}")
        if old.exists():
            old.rename(f"{old}.before-restore")
    with sqlite3.connect(source) as backed_up, sqlite3.connect(path) as target:
        backed_up.backup(target)
    backed_up.close()
    target.close()
    path.chmod(0o600)
    _sync(path)
    migrate(service.db)
    mark_restored(service)
    service.db.close()
    print(f"restored {path} from {source}; the service catches up from chain and agents before it acts")


def _sync(path: Path) -> None:
    for target in (path, path.parent):
        handle = os.open(target, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
