"""Deploying the contracts: once, whatever is interrupted when.

All creations are signed up front (a contract's address is a function of sender and nonce) and written to `<out>.plan`,
synced, before the first is sent. A second run finds the plan and sends the same bytes; a run after the end compares the
chain with the file and changes nothing, or adds the contracts that an older deployment does not have yet, around the escrow and
token it has. A plan whose nonces were used by something else is put aside and made anew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from chain import deployment as deployments
from chain.abi import CODEC, interface
from chain.artifacts import load
from chain.calls import Call
from chain.client import ChainClient
from chain.deployment import Deployment
from chain.errors import DeploymentError, Reverted, RpcRefused
from chain.oneshot import send
from chain.rpc import Receipt, Rpc
from chain.transactions import TransactionSigner

Say = Callable[[str], None]

TOKEN_NAME, TOKEN_SYMBOL = "Wattproof Settlement", "WPS"
DEFAULT_DAILY_CAP_MICRO = 1_000_000 * 10**6
GAS_BASE, GAS_A_BYTE, GAS_FOR_CONSTRUCTOR = 53_000, 216, 700_000
"""Creation, calldata and code deposit a byte (16 + 200), and room for a constructor's own writes (yellow paper, appendix G)."""
ORDER = (
    "SettlementToken", "EnergyEscrow", "DeviceRegistry", "AnchorLog", "ProviderBook", "TaskEscrow", "DeviceWallet", "DeviceWalletFactory",
)  # fmt: skip
"""What a complete deployment has; a later one may name earlier ones."""
RESEND_S = 5.0
ATTEMPTS = 3
"""Plans made anew in one run before giving up: another program is using the key at the same time."""


class Roles(NamedTuple):
    """Who gets which role. The deploying account itself administers the registry, guards the escrow, mints and keeps the provider
    book. The operator is admitted as a provider too: by default its account is the one that sessions pay."""

    operator: bytes
    cap_keeper: bytes
    daily_cap_micro: int


class Step(NamedTuple):
    """One creation of the plan."""

    contract: str
    nonce: int
    address: bytes
    transaction: bytes
    raw: bytes


def deploy(rpc_url: str, secret: bytes, out: Path, roles: Roles, *, finality_depth: int | None, timeout_s: float, say: Say) -> Deployment:
    """Deploy, or finish or confirm an earlier run. Raises `ChainError`."""
    with Rpc(rpc_url, finality_depth=finality_depth) as rpc:
        signer = TransactionSigner(rpc, secret)
        found = None
        if out.exists():
            found = deployments.load(out)
            say(f"{out} exists already: comparing it with the chain")
            with ChainClient(rpc_url, found, finality_depth=finality_depth) as client:
                client.check()
        if found is None or set(found.contracts()) != set(ORDER):
            found = _create(rpc, signer, out, roles, found, timeout_s, say)
    with ChainClient(rpc_url, found, finality_depth=finality_depth) as client:
        client.check()
        _admit(client, TransactionSigner(client, secret), roles.operator, timeout_s, say)
    plan_path(out).unlink(missing_ok=True)
    return found


def plan_path(out: Path) -> Path:
    return out.with_name(out.name + ".plan")


def _create(
    rpc: Rpc, signer: TransactionSigner, out: Path, roles: Roles, standing: Deployment | None, timeout_s: float, say: Say
) -> Deployment:
    """Create every contract, or those that the `standing` deployment lacks, and write the deployment file."""
    before = standing.contracts() if standing is not None else {}
    genesis = rpc.block(0)
    if genesis is None:
        raise DeploymentError("the node has no block 0; let it synchronise first")
    identity = {"chainId": rpc.chain_id(), "genesisHash": "0x" + genesis.hash.hex(), "sender": "0x" + signer.address.hex()}
    for _ in range(ATTEMPTS):
        steps = _load_plan(plan_path(out), identity)
        if steps is None:
            steps = _make_plan(rpc, signer, roles, before)
            _save_plan(plan_path(out), identity, steps)
        receipts = _carry_out(rpc, signer, steps, timeout_s, say)
        if receipts is not None:
            created = before | {step.contract: step.address for step in steps}
            addresses = {_field_of(name): address for name, address in created.items()}
            first = standing.block_number if standing is not None else min(receipt.block.number for receipt in receipts)
            made = Deployment(chain_id=rpc.chain_id(), genesis_hash=genesis.hash, block_number=first, **addresses)
            deployments.save(made, out)
            return made
        say("another program used this key's nonces; making a new plan")
        plan_path(out).unlink()
    raise DeploymentError(f"another program keeps sending with the key of 0x{signer.address.hex()}; stop it, or deploy with another key")


def _make_plan(rpc: Rpc, signer: TransactionSigner, roles: Roles, before: dict[str, bytes]) -> list[Step]:
    """The creations of what is not there `before`, in `ORDER`."""
    first_nonce = rpc.nonce(signer.address)
    order = [name for name in ORDER if name not in before]
    addresses = before | {name: created_address(signer.address, first_nonce + index) for index, name in enumerate(order)}
    arguments: dict[str, tuple[Any, ...]] = {
        "SettlementToken": (TOKEN_NAME, TOKEN_SYMBOL, signer.address, roles.cap_keeper, roles.daily_cap_micro),
        "EnergyEscrow": (addresses["SettlementToken"], signer.address),
        "DeviceRegistry": (signer.address,),
        "AnchorLog": (),
        "ProviderBook": (signer.address,),
        "TaskEscrow": (addresses["SettlementToken"], signer.address),
        "DeviceWallet": (addresses["EnergyEscrow"], addresses["TaskEscrow"], addresses["ProviderBook"]),
        "DeviceWalletFactory": (addresses["DeviceWallet"],),
    }
    steps = []
    for index, name in enumerate(order):
        code = load(name).bytecode + CODEC.encode(interface(name).constructor, arguments[name])
        gas = GAS_BASE + GAS_A_BYTE * len(code) + GAS_FOR_CONSTRUCTOR
        signed = signer.sign_creation(code, first_nonce + index, gas)
        steps.append(Step(name, signed.nonce, addresses[name], signed.hash, signed.raw))
    return steps


def _carry_out(rpc: Rpc, signer: TransactionSigner, steps: list[Step], timeout_s: float, say: Say) -> list[Receipt] | None:
    """Send what is not mined, wait until all is final. None if the plan can never be carried out."""
    deadline = time.monotonic() + timeout_s
    told: set[str] = set()
    next_send = 0.0
    while time.monotonic() < deadline:
        final = rpc.final_head()
        used = rpc.nonce(signer.address, final.hash)  # before the receipts: what is mined in between is then found, not taken for dead
        receipts = [rpc.receipt(step.transaction) for step in steps]
        present = [receipt for receipt in receipts if receipt is not None]
        missing = [step for step, receipt in zip(steps, receipts, strict=True) if receipt is None]
        if any(used > step.nonce for step in missing):
            return None
        for step, receipt in zip(steps, receipts, strict=True):
            # One that failed behind a gap failed because what stands in the gap is not ours: the plan is dead, proven once that is final.
            if receipt is not None and not receipt.succeeded and not any(gap.nonce < step.nonce for gap in missing):
                raise DeploymentError(f"creating {step.contract} failed; see transaction 0x{step.transaction.hex()}")
            if receipt is not None and receipt.succeeded and step.contract not in told:
                told.add(step.contract)
                say(f"{step.contract} at 0x{step.address.hex()} in block {receipt.block.number} ({receipt.gas_used:,} gas)")
        if len(present) == len(steps) and all(receipt.block.number <= final.number for receipt in present):
            return present
        if missing and time.monotonic() >= next_send:
            next_send = time.monotonic() + RESEND_S
            _send_missing(rpc, missing, say)
        time.sleep(0.2)
    raise DeploymentError(f"not all contracts were in a final block after {timeout_s:.0f} s; run the same command again to go on")


def _send_missing(rpc: Rpc, steps: list[Step], say: Say) -> None:
    for step in steps:
        try:
            rpc.send(step.raw)
        except RpcRefused as error:
            if "insufficient funds" in error.reason.lower():
                raise DeploymentError(f"the deploying account has not enough ether: {error.reason}") from error
            if not any(words in error.reason.lower() for words in ("already", "known", "nonce too low", "imported")):
                say(f"{step.contract}: {error}")


def _admit(client: ChainClient, signer: TransactionSigner, operator: bytes, timeout_s: float, say: Say) -> None:
    book, provider = client.deployment.address_of("ProviderBook"), interface("ProviderBook").functions
    registered = provider["isRegistered"].decode(client.call(book, provider["isRegistered"].encode(operator), at=None))[0]
    calls = {} if client.is_operator(operator) else {"operator": client.calls.admit_operator(operator)}
    if not registered:
        calls["provider"] = Call(book, provider["admit"].encode(operator), "ProviderBook.admit")
    for role, call in calls.items():
        try:
            send(client, signer, [call], timeout_s)
        except Reverted as error:
            raise DeploymentError(
                f"0x{signer.address.hex()} may not admit operators: the contracts were deployed with another key; use that one"
            ) from error
        say(f"0x{operator.hex()} is admitted as {role}")


def created_address(sender: bytes, nonce: int) -> bytes:
    """Where CREATE puts a contract: the last 20 bytes of keccak(rlp([sender, nonce])) (yellow paper, section 7)."""
    from eth_typing import HexAddress, HexStr
    from eth_utils.address import to_canonical_address
    from web3.types import Nonce
    from web3.utils.address import get_create_address

    return to_canonical_address(get_create_address(HexAddress(HexStr("0x" + sender.hex())), Nonce(nonce)))


def _field_of(contract: str) -> str:
    """The field of `Deployment` that holds this contract's address."""
    return next(field for field, name in deployments.CONTRACTS.items() if name == contract)


def _save_plan(path: Path, identity: dict[str, Any], steps: list[Step]) -> None:
    shown = [[step.contract, step.nonce, step.address.hex(), step.transaction.hex(), step.raw.hex()] for step in steps]
    deployments.write_synced(path, json.dumps(identity | {"steps": shown}).encode() + b"\n")


def _load_plan(path: Path, identity: dict[str, Any]) -> list[Step] | None:
    """An earlier run's plan for this chain and key; None if there is none. Raises `DeploymentError` for another's."""
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_bytes())
        steps = [Step(str(name), int(nonce), *map(bytes.fromhex, rest)) for name, nonce, *rest in document.pop("steps")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeploymentError(f"{path}: cannot be read ({error}); delete it to start anew") from error
    if document != identity:
        raise DeploymentError(f"{path}: is a plan for another chain or key; finish it there, or delete it to start anew")
    return steps
