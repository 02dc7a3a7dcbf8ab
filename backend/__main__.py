"""`python -m backend`: set up, run, back up and restore the service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .accounts.cli import account_app, operator_app
from .terminal import run as run_command

app = typer.Typer(
    help="The Wattproof service. First: init. Then: serve. Everything it needs to know is in service.toml, which init writes.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
app.add_typer(account_app, name="account")
app.add_typer(operator_app, name="operator")
ConfigOption = Annotated[Path, typer.Option("--config", help="The settings file that `init` wrote.")]


@app.command()
def init(
    directory: Annotated[Path, typer.Option("--dir", help="A new or empty folder for settings, keys and state.")],
    rpc_url: Annotated[str, typer.Option("--rpc", help="The chain's JSON-RPC.")] = "http://127.0.0.1:8545",
    deployment: Annotated[
        Path, typer.Option("--deployment", help="What `python -m chain deploy` wrote or will write; relative to DIR.")
    ] = Path("deployment.json"),
) -> None:
    """Make keys (encrypted, 0600), an operator token and service.toml in a folder. Nothing that exists is overwritten."""
    from .setup import initialize

    run_command(lambda: initialize(directory, rpc_url, deployment))


@app.command()
def serve(config: ConfigOption = Path("service.toml")) -> None:
    """Run the service until SIGTERM or Ctrl-C. Loopback only unless service.toml says otherwise."""
    from .serve import serve as run

    run_command(lambda: run(config))


@app.command()
def migrate(config: ConfigOption = Path("service.toml")) -> None:
    """Bring the database to this program's schema (serve does it too)."""
    from .serve import migrate_only

    run_command(lambda: migrate_only(config))


@app.command()
def openapi(out: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("docs/openapi.json")) -> None:
    """Write the OpenAPI document of the API. Needs no settings and no service."""
    from .api.openapi import text
    from .app import build_api

    run_command(lambda: out.write_text(text(build_api()), encoding="utf-8"))


@app.command()
def backup(
    out: Annotated[Path, typer.Option("--out", help="The file to write; it must not exist.")], config: ConfigOption = Path("service.toml")
) -> None:
    """Write a consistent copy of the database while the service runs."""
    from .upkeep.backup import backup as run

    run_command(lambda: run(config, out))


@app.command()
def restore(
    source: Annotated[Path | None, typer.Option("--from", help="A file that `backup` wrote.")] = None,
    mark: Annotated[bool, typer.Option("--mark", help="The database was restored by other means (pg_restore): only say so.")] = False,
    config: ConfigOption = Path("service.toml"),
) -> None:
    """Put a backup in place of the database. The service then catches up from chain and agents before it acts."""
    from .upkeep.backup import mark as mark_only
    from .upkeep.backup import restore as run

    if (source is None) is not mark:
        raise typer.BadParameter("give either --from FILE or --mark")
    run_command(lambda: mark_only(config) if source is None else run(config, source))


if __name__ == "__main__":
    app()
