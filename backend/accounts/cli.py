"""`python -m backend account …` and `operator …`: the first accounts, and the way back in when nobody can log in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..terminal import run
from .roles import Role

ConfigOption = Annotated[Path, typer.Option("--config", help="The settings file that `init` wrote.")]
PasswordFile = Annotated[Path | None, typer.Option("--password-file", help="Read the password from this file instead of asking for it.")]
OfOption = Annotated[str, typer.Option("--operator", help="Name of the operator; `installation`: an account that may act for all of them.")]
SETTINGS = Path("service.toml")
account_app = typer.Typer(help="Who can log in, and as what.", no_args_is_help=True)
operator_app = typer.Typer(help="Operators of this installation, kept apart from each other.", no_args_is_help=True)


@account_app.command("add")
def add_account(
    name: Annotated[str, typer.Argument(help="a-z, 0-9, dot, dash, underscore, @")],
    role: Annotated[Role, typer.Option("--role")],
    operator: OfOption = "installation",
    wallet: Annotated[str | None, typer.Option("--wallet", help="Address of a wallet that may log in, with or without a password.")] = None,
    password_file: PasswordFile = None,
    config: ConfigOption = SETTINGS,
) -> None:
    """Make an account. The password is asked for, unless a wallet or --password-file is given."""
    from .desk import add_account as do

    run(lambda: do(config, name, role, operator, wallet, password_file))


@account_app.command("list")
def list_accounts(config: ConfigOption = SETTINGS) -> None:
    """All accounts."""
    from .desk import list_accounts as do

    run(lambda: do(config))


@account_app.command("change")
def change_account(
    name: Annotated[str, typer.Argument()],
    role: Annotated[Role | None, typer.Option("--role")] = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable")] = None,
    password: Annotated[bool, typer.Option("--password", help="Ask for a new password.")] = False,
    password_file: PasswordFile = None,
    config: ConfigOption = SETTINGS,
) -> None:
    """Change role, state or password; the account is logged out everywhere."""
    from .desk import change_account as do

    run(lambda: do(config, name, role, enabled, password or password_file is not None, password_file))


@operator_app.command("add")
def add_operator(
    name: Annotated[str, typer.Argument(help="As people read it.")],
    payee: Annotated[str, typer.Option("--payee", help="Address that sessions at its points pay.")],
    config: ConfigOption = SETTINGS,
) -> None:
    """Add an operator. The same again is a success."""
    from .desk import add_operator as do

    run(lambda: do(config, name, payee))


@operator_app.command("key")
def make_key(
    out: Annotated[Path, typer.Option("--out", help="The new key file; name it in keys.further_payee_files.")],
    config: ConfigOption = SETTINGS,
) -> None:
    """Make an account for an operator to be paid at, its key encrypted with the service's passphrase (0600). Nothing is overwritten."""
    from .desk import make_payee_key as do

    run(lambda: do(config, out))


@operator_app.command("list")
def list_operators(config: ConfigOption = SETTINGS) -> None:
    """All operators."""
    from .desk import list_operators as do

    run(lambda: do(config))
