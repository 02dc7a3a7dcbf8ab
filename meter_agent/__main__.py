"""`python -m meter_agent init|run|rotate|show|log|vouch|amounts`: the agent's command line. Commands import what they need, so that
`--help` is quick.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from onsite.commandline import exit_code, log_to_stderr

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)

HELP = """The meter agent: reads a meter, signs what it measured, prices it, and switches the supply.

One agent serves one point: a meter and a relay on serial lines. It keeps every reading in a synced log before anyone hears of it,
opens its own connection to the service, and disconnects by itself when the money ends.

[b]From nothing to running[/b]

  head -c 24 /dev/urandom | base64 > passphrase; chmod 600 passphrase      (keep it outside the state folder)

  python -m meter_agent init --state agent --passphrase-file passphrase     (makes the keys; agent/identity.json is public)

  … enrol device and meterKey from identity.json with the service, write agent.toml …

  python -m meter_agent run --state agent --config agent.toml --passphrase-file passphrase

  python -m meter_agent show --state agent

[b]The passphrase[/b] comes from --passphrase-file, --passphrase-fd or the systemd credential [i]wattproof-agent[/i]. It protects copies and
backups of the state folder and a stolen disk; it does not protect against root on the running machine.

[b]Locking a point out by hand[/b]: touch STATE/lock-out. RECONNECT is refused while the file exists.
"""

State = Annotated[Path, typer.Option("--state", metavar="DIR", help="State folder: keys, log, receipts.")]
PassphraseFile = Annotated[Path | None, typer.Option("--passphrase-file", metavar="FILE", help="File with the passphrase, mode 0600.")]
PassphraseFd = Annotated[int | None, typer.Option("--passphrase-fd", metavar="N", help="Open file descriptor to read the passphrase from.")]


@app.callback(help=HELP)
def main() -> None:
    """See HELP."""


@app.command()
def init(
    state: State,
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    device: Annotated[str | None, typer.Option(metavar="0x…", help="Device id (32 bytes); default: a random one.")] = None,
    channel: Annotated[int, typer.Option(min=0, help="Channel of the device.")] = 1,
    chain_id: Annotated[int | None, typer.Option(min=1, help="Sign the key's registration for this chain …")] = None,
    registry: Annotated[str | None, typer.Option(metavar="0x…", help="… and this DeviceRegistry.")] = None,
    deadline: Annotated[int | None, typer.Option(min=1, help="UTC second until which to register; default: in 7 days.")] = None,
) -> None:
    """Make the keys on this device and write DIR/identity.json. Again: keeps the keys, renews the binding."""
    from onsite.errors import ConfigError
    from onsite.keyfile import read_passphrase
    from protocol.eip712 import hex_bytes

    from .enrolment import initialise

    if (chain_id is None) != (registry is None):
        raise ConfigError("--chain-id and --registry belong together")
    binding = (chain_id, hex_bytes(registry, 20, "--registry"), deadline) if chain_id is not None and registry is not None else None
    identity = initialise(
        state, read_passphrase(passphrase_file, passphrase_fd), hex_bytes(device, 32, "--device") if device else None, channel, binding
    )
    typer.echo(f"device {identity['device']}\nmeter key {identity['meterKey']}\npublic identity in {state / 'identity.json'}")


@app.command()
def run(
    state: State,
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="Settings, e.g. agent.toml.")] = Path("agent.toml"),
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Run until SIGTERM or Ctrl-C. Supply is then disconnected: an agent that does not run cannot keep a limit."""
    from onsite.errors import ConfigError, LogDamaged
    from onsite.keyfile import read_passphrase
    from protocol.eip712 import hex_bytes

    from .agent import Agent
    from .config import load_config
    from .enrolment import read_identity
    from .keystore import Keystore
    from .point import Point

    log_to_stderr()
    settings = load_config(config)
    identity = read_identity(state)
    if (hex_bytes(identity["device"], 32, "device"), identity["channel"]) != (settings.device, settings.channel):
        raise ConfigError(f"{config}: device and channel are not those of {state / 'identity.json'}")
    passphrase = read_passphrase(passphrase_file, passphrase_fd)
    keystore = Keystore(state / "keys")
    signer, charge_keys = keystore.meter(passphrase), keystore.charge_keys(passphrase)
    if identity["meterKey"] != "0x" + signer.address.hex():
        raise ConfigError(f"{state / 'identity.json'} names another meter key than {keystore.directory} holds; run init again to renew it")
    try:
        agent = Agent(state, settings, signer, charge_keys)
    except LogDamaged:  # nobody can say what may be supplied here
        measured = Point(settings).disconnect()
        typer.echo(f"agent: supply {measured.state.name.lower()} ({measured.detail})", err=True)
        raise
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda *_: agent.stop())
    typer.echo(f"agent: device {identity['device']}, meter on {settings.meter}, service {settings.service_url}", err=True)
    agent.run()


@app.command()
def rotate(
    state: State,
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="Settings, e.g. agent.toml.")] = Path("agent.toml"),
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
    deadline: Annotated[int | None, typer.Option(min=1, help="UTC second until which to register; default: in 7 days.")] = None,
) -> None:
    """Change the meter key, with the agent stopped and no session open. Writes DIR/rotation.json, signed by both
    keys.
    """
    import time

    from onsite.keyfile import read_passphrase

    from .config import load_config
    from .rotation import ROTATION_VALID_S, rotate_meter_key

    until = deadline or int(time.time()) + ROTATION_VALID_S
    document = rotate_meter_key(state, read_passphrase(passphrase_file, passphrase_fd), load_config(config), until)
    typer.echo(f"new meter key {document['rotation']['newKey']}\nregister it with {state / 'rotation.json'} before the agent runs again")


@app.command()
def show(state: State, as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """What the agent knows: last record, session, what the service has receipted. Needs no passphrase; works while it
    runs.
    """
    from .report import overview, render

    document = overview(state)
    typer.echo(render(document, as_json=as_json))


@app.command()
def log(
    state: State,
    last: Annotated[int, typer.Option(min=1, help="How many entries, newest last.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object an entry: frames as they are sent.")] = False,
) -> None:
    """The newest entries of the log, checked as they are read."""
    from .report import log_lines

    for line in log_lines(state, last, as_json=as_json):
        typer.echo(line)


@app.command()
def vouch(
    state: State,
    key: Annotated[str, typer.Option("--key", metavar="0x…", help="Address of the key that will prove energy for tasks.")],
    passphrase_file: PassphraseFile = None,
    passphrase_fd: PassphraseFd = None,
) -> None:
    """Vouch for the key of somebody who sells this meter's energy by task. Prints JSON; changes nothing."""
    import json
    import time

    from onsite.keyfile import read_passphrase
    from protocol.eip712 import hex_bytes

    from .vouching import vouch_for

    made = vouch_for(state, read_passphrase(passphrase_file, passphrase_fd), hex_bytes(key.lower(), 20, "--key"), int(time.time()))
    typer.echo(json.dumps(made))


@app.command()
def amounts(state: State) -> None:
    """Every session's highest signed amount with its terms, as JSON: what `python -m chain claim` takes when the service
    is gone.
    """
    import json

    from .amounts import signed_amounts

    typer.echo(json.dumps(signed_amounts(state), indent=1))


def cli() -> int:
    """Run the command line (`onsite.commandline.exit_code`)."""
    return exit_code(app, "agent")


if __name__ == "__main__":
    sys.exit(cli())
