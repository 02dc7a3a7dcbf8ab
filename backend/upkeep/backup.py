"""Online backup and restore. A restored backup is old: it is marked so, and nothing acts before chain and agents have caught it up.

SQLite: its own online backup, page by page, while the service writes. PostgreSQL: pg_dump and pg_restore, then `restore --mark`.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from ..context import Service
from ..errors import Misconfigured
from ..settings import load_settings
from ..store.db import Database
from ..store.keyring import write_private
from ..store.migrate import is_known, migrate
from .restoring import mark_restored


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
    """Put a backup in place of the database, marked as restored. The old database is kept beside it.

    Nothing is moved before the backup is copied and read through: a file that is none leaves the database as it was.
    """
    path = _sqlite_path(config)
    if not source.exists():
        raise Misconfigured(f"{source} does not exist", "--from")
    service = Service.from_settings(load_settings(config))
    service.db.lock_process()  # a running service must not lose its database under its feet
    place(source, path)
    migrate(service.db)
    mark_restored(service)
    service.db.close()
    print(f"restored {path} from {source}; the service catches up from chain and agents before it acts")


def place(source: Path, path: Path) -> None:
    """Put a copy of `source` in place of the database `path`, which nobody uses. Raises `Misconfigured`, and then nothing has changed."""
    fresh = Path(f"{path}.restoring")
    try:
        _copy_checked(source, fresh)
    except (sqlite3.Error, Misconfigured) as error:
        fresh.unlink(missing_ok=True)
        raise Misconfigured(f"{source} is no backup of this service ({error}); nothing was changed", "--from") from None
    for suffix in ("", "-wal", "-shm"):
        old = Path(f"{path}{suffix}")
        if old.exists():
            old.rename(f"{old}.before-restore")
    fresh.rename(path)
    _sync(path)


def _copy_checked(source: Path, target: Path) -> None:
    """Copy a backup into a new 0600 file, synced. Raises `sqlite3.Error`, or `Misconfigured` where it is damaged or another program's."""
    target.unlink(missing_ok=True)  # what an interrupted restore left
    write_private(target, "")
    with closing(sqlite3.connect(source)) as backed_up, closing(sqlite3.connect(target)) as copy:
        backed_up.backup(copy)
        found = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise Misconfigured(found)
        revisions = copy.execute("SELECT version_num FROM alembic_version").fetchall()
        if len(revisions) != 1 or not is_known(revisions[0][0]):
            raise Misconfigured("its schema is of another program, or of a newer version of this one")
    _sync(target)


def _sync(path: Path) -> None:
    for target in (path, path.parent):
        handle = os.open(target, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
