"""`python -m buyer_agent init|run|show|explain`: the buyer's command line. Commands import what they need, so that `--help` is quick."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from onsite.commandline import exit_code, log_to_stderr

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)

HELP = """The buyer's agent: buys electricity for a device and pays for it by itself, within its owner's limits.

It checks the offers at its point and takes the best by the owner's preference, opens a session, prices the seller's signed frames itself,
compares them with its own meter where it has one, and signs the next payment only when it agrees. It needs no chain connection and no gas.

[b]From nothing to running[/b]

  head -c 24 /dev/urandom | base64 > passphrase; chmod 600 passphrase      (keep it outside the state folder)

  python -m buyer_agent init --state buyer --passphrase-file passphrase     (makes the pay key and prints its address)

  … the owner names that address in the wallet's policy; write buyer.toml (docs/buyer.md) …

  python -m buyer_agent run --state buyer --config buyer.toml --passphrase-file passphrase

  python -m buyer_agent explain --state buyer                               (what it did, and why)
"""

State = Annotated[Path, typer.Option("--state", metavar="DIR", help="State folder: key, journal.")]
Config = Annotated[Path, typer.Option("--config", metavar="FILE", help="Settings, e.g. buyer.toml.")]
PassphraseFile = Annotated[Path | None, typer.Option("--passphrase-file", metavar="FILE", help="File with the passphrase, mode 0600.")]
PassphraseFd = Annotated[int | None, typer.Option("--passphrase-fd", metavar="N", help="Open file descriptor to read the passphrase from.")]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]


@app.callback(help=HELP)
def main() -> None:
    """See HELP."""


@app.command()
def init(state: State, passphrase_file: PassphraseFile = None, passphrase_fd: PassphraseFd = None) -> None:
    """Make the pay key on this device and print its address. Again: prints it again."""
    from onsite.keyfile import read_passphrase

    from .key import make_key

    typer.echo(f"pay key 0x{make_key(state, read_passphrase(passphrase_file, passphrase_fd)).hex()}")


@app.command()
def run(
    state: State,
    config: Config = Path("buyer.toml"),
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    again: Annotated[bool, typer.Option("--again", help="Buy again after a disagreement: you have looked into it.")] = False,
) -> None:
    """Buy until SIGTERM or Ctrl-C, which end the session and pay what it used. After a kill it goes on where it was."""
    from onsite.errors import ConfigError
    from onsite.keyfile import read_passphrase

    from .agent import Buyer
    from .key import read_pay_key
    from .settings import load_buyer, load_policy

    log_to_stderr()
    settings = load_buyer(config)
    policy = load_policy(settings)
    signer = read_pay_key(state, read_passphrase(passphrase_file, passphrase_fd))
    named, where = (settings.payer, config) if policy is None else (policy.pay_key, Path(settings.policy_file or ""))
    if named != signer.address:
        raise ConfigError(f"{where}: names another pay key than this state folder holds, 0x{signer.address.hex()}")
    buyer = Buyer(state, settings, policy, signer)
    if again:
        buyer.forgive()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda *_: buyer.stop())
    buyer.run()


@app.command()
def show(state: State, as_json: Json = False) -> None:
    """How the buyer stands: session, money, last choice. Needs no passphrase; works while it runs."""
    from .report import overview, render

    typer.echo(render(overview(state), as_json=as_json))


@app.command()
def explain(
    state: State,
    last: Annotated[int, typer.Option(min=1, help="How many events, newest last.")] = 20,
    as_json: Json = False,
) -> None:
    """What the buyer did and why: choices, openings, top-ups, refusals, ends."""
    from .report import events

    for line in events(state, last, as_json=as_json):
        typer.echo(line)


def cli() -> int:
    """Run the command line (`onsite.commandline.exit_code`)."""
    return exit_code(app, "buyer")


if __name__ == "__main__":
    sys.exit(cli())
