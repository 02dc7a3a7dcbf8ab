"""What the commands of `cli` do. They run beside a running service: SQLite lets a second process write, only a second *service* is refused.

Passwords are asked for or read from a file; never taken from the command line, where others could see them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getpass
from pathlib import Path

from sqlalchemy.orm import Session

from ..errors import BadRequest, Misconfigured, NotFound
from ..hexes import address_in, to_hex
from ..models import Operator
from ..models.base import HOUSE
from ..settings import load_settings
from ..store.db import Database
from ..store.keyring import create_key, read_secret
from ..store.migrate import migrate
from . import operators, users
from .acts import note
from .roles import Role

WHO = "command line"
MOST_LISTED = 100_000


def add_account(config: Path, name: str, role: Role, operator: str, wallet: str | None, password_file: Path | None) -> None:
    password = None if wallet is not None and password_file is None else _password(password_file)
    address = None if wallet is None else address_in(wallet, "--wallet")
    with _database(config) as db:
        of, now = _operator_id(db, operator), int(time.time())
        user = users.add(db, of, name, role, password=password, wallet=address, now_s=now)
        note(db, of, WHO, "account added", user.name, role.value, now)
    print(f"account {user.name} ({role.value}, {operator})")


def list_accounts(config: Path) -> None:
    with _database(config) as db:
        names = operators.names(db, HOUSE)
        rows = [("NAME", "ROLE", "OF", "STATE", "WALLET")]
        for user in users.page(db, HOUSE, 0, MOST_LISTED):
            state, wallet = "enabled" if user.enabled else "disabled", "" if user.wallet is None else to_hex(user.wallet)
            rows.append((user.name, user.role, names[user.operator_id], state, wallet))
    for row in rows:
        print("  ".join(f"{cell:<16}" for cell in row).rstrip())


def change_account(
    config: Path, name: str, role: Role | None, enabled: bool | None, new_password: bool, password_file: Path | None
) -> None:  # fmt: skip
    password = _password(password_file) if new_password else None
    with _database(config) as db:
        user = users.by_name(db, name)
        if user is None:
            raise NotFound(f"no account {name!r}; `account list` shows all", "name")
        changed = users.change(db, user, role=role, enabled=enabled, password=password)
        if changed:
            note(db, user.operator_id, WHO, "account changed", user.name, ", ".join(changed), int(time.time()))
    print(f"account {user.name}: {', '.join(changed) or 'nothing changed'}")


def add_operator(config: Path, name: str, payee: str) -> None:
    address = address_in(payee, "--payee")
    with _database(config) as db:
        row, now = operators.add(db, name, address, int(time.time())), int(time.time())
        note(db, row.id, WHO, "operator added", row.name, payee, now)
    print(f"operator {row.id}: {row.name}")


def make_payee_key(config: Path, out: Path) -> None:
    settings = load_settings(config)
    passphrase = read_secret(settings.path(settings.keys.passphrase_file), "keys.passphrase_file")
    key = create_key(settings.path(out), passphrase)
    print(f"{settings.path(out)}: {to_hex(key.address)}; it needs the chain's coin for gas")


def list_operators(config: Path) -> None:
    with _database(config) as db:
        rows = operators.rows(db, HOUSE)
    for row in rows:
        print(f"{row.id:>4}  {to_hex(row.payee)}  {row.name}")


@contextmanager
def _database(config: Path) -> Iterator[Session]:
    """One transaction on the service's database. Raises `Misconfigured` where no service was ever set up on it."""
    database = Database(load_settings(config).database)
    try:
        migrate(database)
        with database.writing() as db:
            if db.get(Operator, HOUSE) is None:
                raise Misconfigured("this database has no operator yet; run: python -m backend migrate", "--config")
            yield db
    finally:
        database.close()


def _operator_id(db: Session, name: str) -> int:
    found = [operator_id for operator_id, known in operators.names(db, HOUSE).items() if known == name]
    if not found:
        raise NotFound(f"no operator {name!r}; `operator list` shows all", "--operator")
    return found[0]


def _password(file: Path | None) -> str:
    """From the file, or asked for twice at the terminal. Raises `BadRequest`."""
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            raise BadRequest(f"{file} cannot be read: {error.strerror}", "--password-file") from None
        except UnicodeDecodeError:
            raise BadRequest(f"{file} is not UTF-8 text", "--password-file") from None
    if not sys.stdin.isatty():
        raise BadRequest("there is no terminal to ask at; give --password-file", "password")
    first = getpass(f"Password ({users.MIN_PASSWORD} characters or more): ")
    if getpass("Again: ") != first:
        raise BadRequest("the two are not the same", "password")
    return first
