"""What is not a backup of this service leaves its database as it was; a database that cannot be used is a sentence."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import typer

from backend.errors import Misconfigured
from backend.store import migrate
from backend.store.db import Database
from backend.terminal import run
from backend.upkeep import backup


def database(path: Path, revision: str | None = None) -> Path:
    db = Database(f"sqlite:///{path}")
    migrate.migrate(db)
    db.close()
    if revision is not None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
            connection.commit()
    return path


@pytest.mark.parametrize("kind", ["garbage", "empty", "folder", "another program's", "newer"])
def test_restore_of_no_backup_changes_nothing(kind: str, tmp_path: Path) -> None:
    live, source = database(tmp_path / "live.db"), tmp_path / "source"
    before = live.read_bytes()
    if kind == "garbage":
        source.write_bytes(b"no database at all" * 99)
    elif kind == "empty":
        source.touch()
    elif kind == "folder":
        source.mkdir()
    elif kind == "newer":
        database(source, "f00000000000")
    else:
        with closing(sqlite3.connect(source)) as connection:
            connection.execute("CREATE TABLE things (n INTEGER)")
    with pytest.raises(Misconfigured, match="nothing was changed") as refusal:
        backup.place(source, live)
    assert refusal.value.where == "--from"
    assert str(source) in refusal.value.detail
    assert live.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["live.db", "source"]


def test_restore_keeps_the_old_database_beside_the_new(tmp_path: Path) -> None:
    live, source = database(tmp_path / "live.db"), database(tmp_path / "source")
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("CREATE TABLE mark (n INTEGER)")
    before = live.read_bytes()
    backup.place(source, live)
    assert (tmp_path / "live.db.before-restore").read_bytes() == before
    assert live.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(live)) as connection:
        assert connection.execute("SELECT count(*) FROM mark").fetchone() == (0,)


def test_a_database_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{database(tmp_path / 'newer.db', 'f00000000000')}")
    with pytest.raises(Misconfigured, match="another version"):
        migrate.migrate(db)
    db.close()


@pytest.mark.parametrize("kind", ["garbage", "folder"])
def test_a_database_that_cannot_be_used_is_a_sentence(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "service.db"
    if kind == "garbage":
        file.write_bytes(b"no database at all" * 99)
    else:
        file.mkdir()
    db = Database(f"sqlite:///{file}")
    with pytest.raises(typer.Exit):
        run(lambda: migrate.migrate(db))
    db.close()
    assert capsys.readouterr().err.startswith("error: database_url: the database cannot be used: ")
