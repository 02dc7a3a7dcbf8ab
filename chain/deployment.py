"""The deployment file: which chain, and where our contracts stand on it. Written by `python -m chain deploy`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from chain.errors import DeploymentError

MAX_FILE_BYTES = 64 * 1024
"""A deployment file has a few hundred bytes; anything larger is another file."""
CONTRACTS = {
    "registry": "DeviceRegistry",
    "anchor_log": "AnchorLog",
    "escrow": "EnergyEscrow",
    "token": "SettlementToken",
    "provider_book": "ProviderBook",
    "task_escrow": "TaskEscrow",
    "device_wallet": "DeviceWallet",
    "wallet_factory": "DeviceWalletFactory",
}
"""Python name → contract name. `device_wallet` is the implementation that every device's wallet is a clone of."""
LATER = ("provider_book", "task_escrow", "device_wallet", "wallet_factory")
"""Contracts that deployments made before there were any do without, until `deploy` adds them."""


class Deployment(NamedTuple):
    """Where our contracts stand. Addresses are 20 bytes; None: this deployment was made before there was such a contract.
    `block_number`: every event of ours is in this block or later."""

    chain_id: int
    genesis_hash: bytes
    block_number: int
    registry: bytes
    anchor_log: bytes
    escrow: bytes
    token: bytes
    provider_book: bytes | None = None
    task_escrow: bytes | None = None
    device_wallet: bytes | None = None
    wallet_factory: bytes | None = None

    def contracts(self) -> dict[str, bytes]:
        """Solidity name → address of each contract of ours that is there."""
        found = {name: getattr(self, field) for field, name in CONTRACTS.items()}
        return {name: address for name, address in found.items() if address is not None}

    def address_of(self, contract: str) -> bytes:
        """The address of a contract by its Solidity name. Raises `DeploymentError` if this deployment has none."""
        address = self.contracts().get(contract)
        if address is None:
            raise DeploymentError(f"this deployment has no {contract}: python -m chain deploy with its file as --out adds what is missing")
        return address

    def name_of(self, address: bytes) -> str | None:
        """The Solidity name of the contract at an address, None if it is none of ours."""
        return next((name for name, each in self.contracts().items() if each == address), None)

    def to_document(self) -> dict[str, Any]:
        return {
            "chainId": self.chain_id,
            "genesisHash": "0x" + self.genesis_hash.hex(),
            "blockNumber": self.block_number,
            "contracts": {name: "0x" + address.hex() for name, address in self.contracts().items()},
        }


def parse(document: Any, where: str = "deployment") -> Deployment:
    """A deployment from its JSON document. Raises `DeploymentError` naming the field that is wrong."""
    if not isinstance(document, dict) or not isinstance(document.get("contracts"), dict):
        raise DeploymentError(f'{where}: expected {{"chainId", "genesisHash", "blockNumber", "contracts": {{…}}}}; deploy again')
    contracts = document["contracts"]
    return Deployment(
        chain_id=_integer(document, "chainId", where),
        genesis_hash=_bytes(document, "genesisHash", 32, where),
        block_number=_integer(document, "blockNumber", where),
        **{
            field: _bytes(contracts, name, 20, f"{where}.contracts")
            for field, name in CONTRACTS.items()
            if name in contracts or field not in LATER
        },
    )


def load(path: Path) -> Deployment:
    """Read a deployment file. Raises `DeploymentError`."""
    try:
        with path.open("rb") as source:
            raw = source.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise DeploymentError(f"{path}: larger than {MAX_FILE_BYTES} bytes; this is no deployment file")
        return parse(json.loads(raw), str(path))
    except OSError as error:
        raise DeploymentError(f"{path}: {error.strerror}; make one with python -m chain deploy --out {path}") from error
    except (ValueError, RecursionError) as error:
        raise DeploymentError(f"{path}: is not JSON; make it again with python -m chain deploy --out {path}") from error


def save(deployment: Deployment, path: Path) -> None:
    """Write a deployment file, whole or not at all, and synced."""
    write_synced(path, json.dumps(deployment.to_document(), indent=1).encode() + b"\n")


def write_synced(path: Path, content: bytes) -> None:
    """Replace a file by new content: after a crash or power cut it holds the old or the new, never a part."""
    temporary = path.with_name(path.name + ".new")
    with open(temporary, "wb") as target:
        target.write(content)
        target.flush()
        os.fsync(target.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _integer(document: dict[str, Any], name: str, where: str) -> int:
    value = document.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise DeploymentError(f"{where}.{name}: must be an integer from 0 to 2^53 - 1")
    return value


def _bytes(document: dict[str, Any], name: str, length: int, where: str) -> bytes:
    value = document.get(name)
    raw = b""
    if isinstance(value, str) and value.startswith("0x") and len(value) == 2 + 2 * length:
        try:
            raw = bytes.fromhex(value[2:])
        except ValueError:
            raw = b""
    if len(raw) != length:
        raise DeploymentError(f"{where}.{name}: must be {length} bytes as 0x-prefixed hex")
    return raw
