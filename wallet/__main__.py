"""`python -m wallet`: what a device's owner does with its wallet. Each command reads or sends, then says what the chain says."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NoReturn, ParamSpec, TypeVar

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
policies = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What the pay key may do: write it, read it, set it.")
app.add_typer(policies, name="policy")

Device = Annotated[str, typer.Option("--device", help="The device's id, 0x and 64 hex digits.")]
WalletAddress = Annotated[str | None, typer.Option("--wallet", help="The wallet's address (or give --device).")]
DeviceOr = Annotated[str | None, typer.Option("--device", help="The device's id (or give --wallet).")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for machines.")]


P = ParamSpec("P")
T = TypeVar("T")


def _sentences(command: Callable[P, T]) -> Callable[P, T]:
    """Whatever is wrong ends in one sentence and exit code 1; Ctrl-C leaves nothing half-done, since each act can be repeated."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        from chain.errors import ChainError
        from protocol.errors import ProtocolError

        from .policies import FileRefused

        try:
            return command(*args, **kwargs)
        except (ChainError, ProtocolError, FileRefused, ValueError) as error:
            _fail(str(error))
        except KeyboardInterrupt:
            _fail("stopped; run the same command again to go on")

    return run


class Place(NamedTuple):
    """What every command is told before its name: the node, the contracts, the owner's key."""

    rpc: str | None
    deployment: Path | None
    key_file: Path | None
    passphrase_file: Path | None
    dev_account: int | None
    finality_depth: int | None
    timeout_s: float

    def node(self) -> str:
        return self.rpc or _fail("--rpc URL: name your node, before the command (python -m wallet --rpc … COMMAND)")

    def deployment_file(self) -> Path:
        return self.deployment or _fail("--deployment FILE: say where the contracts stand, before the command")


@app.callback()
def main(
    at: typer.Context,
    rpc: Annotated[str | None, typer.Option(help="Your node's JSON-RPC address.", envvar="WATTPROOF_RPC")] = None,
    deployment: Annotated[Path | None, typer.Option(help="The deployment file.", envvar="WATTPROOF_DEPLOYMENT")] = None,
    key_file: Annotated[Path | None, typer.Option(help="The owner's key: a Web3 Secret Storage (v3) file, mode 0600.")] = None,
    passphrase_file: Annotated[Path | None, typer.Option(help="File with its passphrase, mode 0600; left out: asked for.")] = None,
    dev_account: Annotated[int | None, typer.Option(min=0, max=98, help="A development chain's well-known account instead.")] = None,
    finality_depth: Annotated[int | None, typer.Option(min=0, help="Blocks below the head that are final; left out: ask the node.")] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for final blocks.")] = 60.0,
) -> None:
    """A device's wallet in its owner's hands: only the chain and the owner's key file are asked, no service.

    Begin with `policy new`, then `create`, then `fund`. Amounts are tokens: 12 or 12.50.
    """
    at.obj = Place(rpc, deployment, key_file, passphrase_file, dev_account, finality_depth, timeout)


@app.command()
@_sentences
def create(
    at: typer.Context, device: Device,
    policy: Annotated[Path, typer.Option(help="The first policy, made with `policy new`.")],
) -> None:  # fmt: skip
    """Make the wallet of a device, with its first policy, in one transaction. Running it again is harmless."""
    from .policies import read_policy

    first = read_policy(policy)
    with _owner(at) as owner:
        print(f"wallet {_shown(owner.create(_bytes(device, 32, '--device'), first))}")


@app.command()
@_sentences
def address(
    at: typer.Context, device: Device, owner: Annotated[str, typer.Option(help="The owner's address.")],
) -> None:  # fmt: skip
    """Say where a wallet is or will be: money may be sent there before it is made. Asks nobody."""
    from chain.deployment import load
    from protocol.wallet import wallet_address

    found = load(_place(at).deployment_file())
    factory, implementation = found.address_of("DeviceWalletFactory"), found.address_of("DeviceWallet")
    print(_shown(wallet_address(factory, implementation, _bytes(device, 32, "--device"), _bytes(owner, 20, "--owner"))))


@app.command()
@_sentences
def show(
    at: typer.Context, wallet: Annotated[str, typer.Option(help="The wallet's address.")], as_json: AsJson = False,
) -> None:  # fmt: skip
    """Balance, what was locked today against the policy, and the policy itself, as the chain has it. Needs no key."""
    from .shows import wallet_document, wallet_table

    with _client(at) as client:
        document = wallet_document(client, _bytes(wallet, 20, "--wallet"))
    _print(document, as_json, wallet_table)


@app.command()
@_sentences
def history(
    at: typer.Context, wallet: Annotated[str, typer.Option(help="The wallet's address.")], as_json: AsJson = False,
) -> None:  # fmt: skip
    """Everything that ever happened to the wallet's money and policy, from the chain's events. Needs no key."""
    from .shows import history_document, history_table

    with _client(at) as client:
        document = history_document(client, _bytes(wallet, 20, "--wallet"))
    _print(document, as_json, history_table)


@app.command()
@_sentences
def fund(
    amount: Annotated[str, typer.Argument(help="Tokens to pay in, from the owner's own.")],
    at: typer.Context, wallet: WalletAddress = None, device: DeviceOr = None,
) -> None:  # fmt: skip
    """Pay tokens into the wallet's free balance, also before the wallet is made. Not harmless twice: it pays twice."""
    from .amounts import parse_micro, show_micro

    micro = parse_micro(amount)
    with _owner(at) as owner:
        to = _wallet(owner, wallet, device)
        owner.fund(to, micro)
        print(f"{show_micro(micro)} paid in for {_shown(to)}")


@app.command()
@_sentences
def freeze(
    at: typer.Context, wallet: WalletAddress = None, device: DeviceOr = None,
) -> None:  # fmt: skip
    """Stop all new money at once: a lost or stolen pay key can lock nothing more. Sessions that run stay as agreed."""
    with _owner(at) as owner:
        owner.freeze(found := _wallet(owner, wallet, device))
        print(f"{_shown(found)} is frozen: nothing new is locked; `policy set` with another pay key, then `unfreeze`")


@app.command()
@_sentences
def unfreeze(
    at: typer.Context, wallet: WalletAddress = None, device: DeviceOr = None,
) -> None:  # fmt: skip
    """Allow new money again, within the standing policy."""
    with _owner(at) as owner:
        owner.unfreeze(found := _wallet(owner, wallet, device))
        print(f"{_shown(found)} may lock new money again")


@app.command()
@_sentences
def withdraw(
    at: typer.Context,
    amount: Annotated[str | None, typer.Argument(help="Tokens to take out; left out: give --all.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is not locked, wherever it lies.")] = False,
    to: Annotated[str | None, typer.Option(help="Who gets it; left out: the owner.")] = None,
    wallet: WalletAddress = None, device: DeviceOr = None,
) -> None:  # fmt: skip
    """Take money out. What is locked in sessions is not touched: `close` brings it back. Not harmless twice: it pays twice."""
    from .amounts import parse_micro, show_micro

    if (amount is None) != everything:
        _fail("say how much, or --all")
    micro = None if amount is None else parse_micro(amount)
    with _owner(at) as owner:
        target = owner.address if to is None else _bytes(to, 20, "--to")
        taken = owner.withdraw(_wallet(owner, wallet, device), target, micro)
        print(f"{show_micro(sum(taken))} paid out to {_shown(target)}")


@app.command()
@_sentences
def close(
    terms: Annotated[Path, typer.Argument(help='JSON with the session\'s "terms": from `buyer_agent show --json`, or a quote.')],
    at: typer.Context,
) -> None:  # fmt: skip
    """End a session from the chain alone: ask to close, wait the agreed delay, close. Run again, it goes on."""
    from protocol.eip712 import from_json
    from protocol.money import Terms

    from .amounts import show_micro
    from .policies import read_json

    document = read_json(terms, 'JSON with the session\'s "terms"')
    if isinstance(document, dict) and isinstance(document.get("session"), dict):
        document = document["session"]  # what `buyer_agent show --json` prints
    named = from_json(Terms, _terms_in(document, terms), str(terms))
    with _owner(at) as owner:
        back = owner.close(named, lambda line: print(line, flush=True))
        print(f"closed; {show_micro(back)} went back to {_shown(named.refund_to)}")


@app.command()
@_sentences
def close_task(
    task: Annotated[Path, typer.Argument(help='JSON with the task\'s "terms" (what /api/v1/tasks answers), or the bare terms.')],
    at: typer.Context,
    early: Annotated[bool, typer.Option("--early", help="Ask it to end now, by the owner's word.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="What comes back stays in the wallet, instead of going to the owner.")] = False,
) -> None:
    """Close a task from the chain alone: wait for its end and grace, close, fetch what tasks gave back. Run again, it goes on."""
    from protocol.eip712 import from_json
    from protocol.task import Task

    from .amounts import show_micro
    from .policies import read_json

    named = from_json(Task, _terms_in(read_json(task, 'JSON with the task\'s "terms"'), task), str(task))
    with _owner(at) as owner:
        back = owner.close_task(named, early=early, keep=keep, say=lambda line: print(line, flush=True))
        print(f"closed; {show_micro(back)} went back to {_shown(named.refund_to)}")


@policies.command(name="new")
@_sentences
def policy_new(
    out: Annotated[Path, typer.Option(help="The policy file to write.")],
    pay_key: Annotated[str, typer.Option(help="Address of the device's pay key (`python -m buyer_agent init` prints it).")],
    per_kwh: Annotated[str, typer.Option(help="Highest price of a kWh, tax included.")],
    per_session: Annotated[str, typer.Option(help="Most that one session may lock.")],
    per_day: Annotated[str, typer.Option(help="Most newly locked in one UTC day.")],
    per_hour: Annotated[str, typer.Option(help="Highest price of an hour, tax included.")] = "0",
    flat: Annotated[str, typer.Option(help="Highest flat price of a session, tax included.")] = "0",
    days: Annotated[int, typer.Option(min=1, max=36_500, help="Days from now until it expires.")] = 365,
    provider: Annotated[list[str] | None, typer.Option(help="A provider allowed; repeat it. None: any that is registered.")] = None,
) -> None:
    """Write a policy file. It takes effect with `create` or `policy set`."""
    from protocol.wallet import Policy, check_policy

    from .amounts import parse_micro
    from .policies import write_policy

    allowed = tuple(_bytes(each, 20, "--provider") for each in provider or [])
    made = Policy(
        _bytes(pay_key, 20, "--pay-key"), allowed, parse_micro(per_kwh), parse_micro(per_hour), parse_micro(flat),
        parse_micro(per_session), parse_micro(per_day), int(time.time()) + days * 86_400,
    )  # fmt: skip
    check_policy(made)
    write_policy(out, made)
    print(f"{out}: written")


@policies.command(name="set")
@_sentences
def policy_set(
    file: Annotated[Path, typer.Argument(help="A policy file.")],
    at: typer.Context, wallet: WalletAddress = None, device: DeviceOr = None,
) -> None:  # fmt: skip
    """Set another policy, also another pay key. It holds for new money; what is locked stays as agreed."""
    from .policies import read_policy

    policy = read_policy(file)
    with _owner(at) as owner:
        owner.set_policy(found := _wallet(owner, wallet, device), policy)
        print(f"{_shown(found)}: the policy of {file} stands")


@policies.command(name="show")
@_sentences
def policy_show(
    at: typer.Context, wallet: Annotated[str, typer.Option(help="The wallet's address.")],
) -> None:  # fmt: skip
    """The standing policy as a policy file, rebuilt from the chain alone. Needs no key."""
    from chain.wallet_views import WalletViews
    from protocol.wallet import policy_document

    with _client(at) as client:
        views, address = WalletViews(client), _bytes(wallet, 20, "--wallet")
        standing = views.policy(address) if views.state(address) is not None else _fail(f"there is no wallet at {wallet}")
    if standing is None:
        _fail("no policy was ever set: the pay key can do nothing")
    print(json.dumps(policy_document(standing), indent=1))


def _place(at: typer.Context) -> Place:
    place: Place = at.obj
    return place


def _client(at: typer.Context) -> Any:
    from chain.client import ChainClient
    from chain.deployment import load

    place = _place(at)
    client = ChainClient(place.node(), load(place.deployment_file()), finality_depth=place.finality_depth)
    client.check()
    return client


def _owner(at: typer.Context) -> Any:
    from chain.deployment import load
    from chain.keyfile import secret_of

    from .owner import Owner

    place = _place(at)
    secret = secret_of(place.node(), place.key_file, place.passphrase_file, place.dev_account)
    return Owner(place.node(), load(place.deployment_file()), secret, place.timeout_s, place.finality_depth)


def _wallet(owner: Any, wallet: str | None, device: str | None) -> bytes:
    if (wallet is None) == (device is None):
        _fail("name the wallet: --wallet ADDRESS or --device ID")
    found: bytes = _bytes(wallet, 20, "--wallet") if wallet is not None else owner.wallet_of(_bytes(device or "", 32, "--device"))
    return found


def _terms_in(document: Any, path: Path) -> dict[str, Any]:
    """The "terms" in a document, or the document where it is them."""
    found = document.get("terms", document) if isinstance(document, dict) else None
    return found if isinstance(found, dict) else _fail(f'{path}: holds no "terms" object')


def _bytes(text: str, size: int, option: str) -> bytes:
    digits = text.removeprefix("0x")
    try:
        raw = bytes.fromhex(digits) if text.startswith("0x") and len(digits) == 2 * size else b""
    except ValueError:
        raw = b""
    if len(raw) != size:
        _fail(f"{option}: must be 0x and {2 * size} hex digits, not {text[:80]!r}")
    return raw


def _shown(raw: bytes) -> str:
    return "0x" + raw.hex()


def _print(document: Any, as_json: bool, table: Callable[[Any], Any]) -> None:
    if as_json:
        print(json.dumps(document, indent=1))
        return
    from rich.console import Console

    Console().print(table(document))


def _fail(message: str) -> NoReturn:
    print(f"wallet: {message}", file=sys.stderr)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
