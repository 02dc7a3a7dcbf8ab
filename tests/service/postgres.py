"""A PostgreSQL cluster of our own: made in a folder, run as a non-root user, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

from backend.store.db import Database
from backend.store.migrate import migrate


def find_binaries() -> Path | None:
    """The folder of initdb and pg_ctl: on the PATH, or Debian's."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


class Cluster:
    """One server on a Unix socket. `url()` makes a new, empty database and names it. `synced`: commits survive a power cut."""

    def __init__(self, *, synced: bool = False) -> None:
        binaries = find_binaries()
        assert binaries is not None
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="wattproof-pg-"))
        self._user = self._unprivileged()
        self._count = 0
        self._run("initdb", "-D", str(self._folder / "data"), "-A", "trust", "-U", "wattproof", "--no-sync", "-E", "UTF8")
        options = f"-k {self._folder} -c listen_addresses='' -c max_connections=200 -c fsync={'on' if synced else 'off'}"
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-o", options, "-w", "-l", str(self._folder / "log"), "start")

    def _unprivileged(self) -> list[str]:
        """PostgreSQL refuses to run as root."""
        if os.getuid() != 0:
            return []
        for name in ("postgres", "nobody"):
            try:
                user = pwd.getpwnam(name)
            except KeyError:
                continue
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        raise AssertionError("no user to run PostgreSQL as")

    def _run(self, program: str, *arguments: str) -> None:
        with (self._folder / f"{program}.out").open("ab") as output:  # a pipe would be held open by the server it starts
            done = subprocess.run(
                [*self._user, str(self._binaries / program), *arguments], cwd="/", stdout=output, stderr=subprocess.STDOUT, check=False,
                timeout=60
            )
        assert done.returncode == 0, (self._folder / f"{program}.out").read_text()

    def url(self) -> str:
        """A database at the present schema: migrated once, then copied."""
        if self._count == 0:
            template = Database(self._create("template_wattproof", "template1"))
            migrate(template)
            template.close()
        self._count += 1
        return self._create(f"t{self._count}", "template_wattproof")

    def empty(self) -> str:
        """A database without any table."""
        self._count += 1
        return self._create(f"e{self._count}", "template1")

    def _create(self, name: str, template: str) -> str:
        import psycopg

        with psycopg.connect(host=str(self._folder), user="wattproof", dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return f"postgresql+psycopg://wattproof@/{name}?host={self._folder}"

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)
