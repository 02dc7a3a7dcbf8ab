"""`python -m chain`: deploy the contracts, compare a chain with a deployment file, claim without a service."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Our contracts on a chain: deploy them, check them, claim from them.")

RpcOption = Annotated[str, typer.Option("--rpc", help="The node's JSON-RPC address (http:// or https://).")]
DepthOption = Annotated[
    int | None, typer.Option(min=0, help="Blocks below the head that are final; left out: ask the node for its finalized block.")
]


@app.command()
def deploy(
    rpc: RpcOption,
    out: Annotated[Path, typer.Option(help="The deployment file to write.")],
    key_file: Annotated[Path | None, typer.Option(help="The deploying account: a Web3 Secret Storage (v3) file.")] = None,
    passphrase_file: Annotated[Path | None, typer.Option(help="File with the key file's passphrase; left out: asked for.")] = None,
    dev_account: Annotated[int | None, typer.Option(min=0, max=98, help="A development chain's well-known account instead.")] = None,
    operator: Annotated[str | None, typer.Option(help="Account to admit as operator; left out: the deploying one.")] = None,
    cap_keeper: Annotated[str | None, typer.Option(help="Account that sets the token's daily cap; not the deploying one.")] = None,
    daily_cap_micro: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Most that may be minted in a day.")] = 10**12,
    finality_depth: DepthOption = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for final blocks.")] = 300.0,
) -> None:
    """Deploy the contracts. A second run finishes an interrupted one, or confirms a finished one; nothing is deployed twice."""
    from chain.deploy import Roles
    from chain.deploy import deploy as run
    from chain.errors import ChainError
    from chain.keyfile import secret_of

    try:
        secret = secret_of(rpc, key_file, passphrase_file, dev_account)
        own = _address_of(secret)
        keeper = _address(cap_keeper, "--cap-keeper") if cap_keeper else _next_dev_address(dev_account)
        if keeper is None or keeper == own:
            _fail("--cap-keeper ADDRESS: name an account other than the deploying one; it limits what a stolen minter key can do")
        roles = Roles(_address(operator, "--operator") if operator else own, keeper, daily_cap_micro)
        made = run(rpc, secret, out, roles, finality_depth=finality_depth, timeout_s=timeout, say=lambda line: print(line, flush=True))
    except ChainError as error:
        _fail(str(error))
    print(f"{out}: contracts stand on chain {made.chain_id} from block {made.block_number} on, and their code is that of our artifacts")


@app.command()
def check(
    rpc: RpcOption,
    deployment: Annotated[Path, typer.Option(help="The deployment file.")],
) -> None:
    """Compare chain id, genesis and code on the chain with the deployment file and our artifacts. Changes nothing."""
    from chain.client import ChainClient
    from chain.deployment import load
    from chain.errors import ChainError

    try:
        found = load(deployment)
        with ChainClient(rpc, found) as client:
            client.check()
    except ChainError as error:
        _fail(str(error))
    print(f"chain {found.chain_id}: all contracts stand where {deployment} says, and their code is that of our artifacts")


@app.command()
def claim(
    amounts: Annotated[Path, typer.Argument(help="Signed amounts with their terms: from python -m meter_agent amounts.")],
    rpc: RpcOption,
    deployment: Annotated[Path, typer.Option(help="The deployment file.")],
    key_file: Annotated[Path | None, typer.Option(help="Who sends (and pays gas): a Web3 Secret Storage (v3) file.")] = None,
    passphrase_file: Annotated[Path | None, typer.Option(help="File with the key file's passphrase; left out: asked for.")] = None,
    dev_account: Annotated[int | None, typer.Option(min=0, max=98, help="A development chain's well-known account instead.")] = None,
    finality_depth: DepthOption = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for final blocks.")] = 120.0,
) -> None:
    """Claim what payers signed, without a service. Anyone may send it: only the payees of the terms are credited. Again: harmless."""
    from chain.client import ChainClient
    from chain.deployment import load
    from chain.errors import ChainError
    from chain.escape import claim_all, read_amounts
    from chain.keyfile import secret_of
    from chain.transactions import TransactionSigner

    try:
        items = read_amounts(amounts)
        secret = secret_of(rpc, key_file, passphrase_file, dev_account)
        with ChainClient(rpc, load(deployment), finality_depth=finality_depth) as client:
            client.check()
            told = claim_all(client, TransactionSigner(client, secret), items, timeout)
    except ChainError as error:
        _fail(str(error))
    for line in told.lines:
        print(line)
    if not told.all_stand:
        raise typer.Exit(1)


@app.command("token-roles")
def token_roles(
    rpc: RpcOption,
    deployment: Annotated[Path, typer.Option(help="The deployment file.")],
    key_file: Annotated[Path | None, typer.Option(help="The minter, or the cap keeper: a Web3 Secret Storage (v3) file.")] = None,
    passphrase_file: Annotated[Path | None, typer.Option(help="File with the key file's passphrase; left out: asked for.")] = None,
    dev_account: Annotated[int | None, typer.Option(min=0, max=98, help="A development chain's well-known account instead.")] = None,
    minter: Annotated[str | None, typer.Option(help="By the minter: hand the role over to this account (a service's till).")] = None,
    daily_cap_micro: Annotated[int | None, typer.Option(min=0, max=2**64 - 1, help="By the cap keeper: most to mint in a UTC day.")] = None,
) -> None:
    """Hand the settlement token's minter over, or set its daily cap."""
    from chain.client import ChainClient
    from chain.deployment import load
    from chain.errors import ChainError
    from chain.keyfile import secret_of
    from chain.oneshot import send
    from chain.transactions import TransactionSigner

    if (minter is None) == (daily_cap_micro is None):
        _fail("give either --minter or --daily-cap-micro")
    try:
        secret = secret_of(rpc, key_file, passphrase_file, dev_account)
        with ChainClient(rpc, load(deployment)) as client:
            client.check()
            calls = client.calls
            call = calls.hand_over_minter(_address(minter, "--minter")) if minter else calls.set_daily_cap(daily_cap_micro or 0)
            send(client, TransactionSigner(client, secret), [call])
            limit = client.mint_limit()
    except ChainError as error:
        _fail(str(error))
    print(f"0x{limit.minter.hex()} mints at most {limit.cap_micro} micro a UTC day")


def _address_of(secret: bytes) -> bytes:
    from protocol.keys import Signer

    return Signer(secret).address


def _next_dev_address(dev_account: int | None) -> bytes | None:
    from chain.keyfile import dev_secret

    return None if dev_account is None else _address_of(dev_secret(dev_account + 1))


def _address(text: str, option: str) -> bytes:
    if not re.fullmatch(r"0x[0-9a-fA-F]{40}", text):
        _fail(f"{option}: an address has 0x and 40 hex digits")
    return bytes.fromhex(text[2:])


def _fail(message: str) -> NoReturn:
    print(f"chain: {message}", file=sys.stderr)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
