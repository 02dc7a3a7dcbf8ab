"""Compiled contracts: loaded from this package, checked against the manifest without a compiler, compared with a chain.

Guarantees: `load` returns an artifact only if its file has the hash that the manifest gives, so what is deployed and what is
compared is what was built and reviewed. `check_code` compares every byte of the code on the chain with the artifact except
those of immutables, which the constructor fills in.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from chain.errors import ArtifactError, CodeDiffers

FOLDER = Path(__file__).parent / "artifacts"
MANIFEST = "manifest.json"


class Artifact(NamedTuple):
    """One compiled contract. `immutables` are (start, length) in the deployed code, in bytes."""

    name: str
    abi: tuple[dict[str, Any], ...]
    bytecode: bytes
    deployed_bytecode: bytes
    immutables: tuple[tuple[int, int], ...]


@cache
def load(name: str) -> Artifact:
    """The artifact of this contract. Raises `ArtifactError` if it is missing or not what the manifest says."""
    path = FOLDER / f"{name}.json"
    try:
        manifest = json.loads((FOLDER / MANIFEST).read_bytes())
        raw = path.read_bytes()
        expected = manifest["artifacts"][path.name]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path.name}: cannot be read ({error}); run scripts/contracts build") from error
    found = "0x" + hashlib.sha256(raw).hexdigest()
    if found != expected:
        raise ArtifactError(f"{path.name}: its hash is {found}, the manifest says {expected}; run scripts/contracts check")
    document = json.loads(raw)
    return Artifact(
        document["contractName"],
        tuple(document["abi"]),
        bytes.fromhex(document["bytecode"].removeprefix("0x")),
        bytes.fromhex(document["deployedBytecode"].removeprefix("0x")),
        tuple((each["start"], each["length"]) for each in document["immutableReferences"]),
    )


def check_code(artifact: Artifact, address: bytes, code: bytes) -> None:
    """Raise `CodeDiffers` unless `code` is this artifact's deployed code, whatever its immutables."""
    where = f"{artifact.name} at 0x{address.hex()}"
    if not code:
        raise CodeDiffers(f"{where}: there is no contract; is this the chain the deployment file was made on?")
    if len(code) != len(artifact.deployed_bytecode):
        raise CodeDiffers(f"{where}: {len(code)} bytes of code, the artifact has {len(artifact.deployed_bytecode)}; deploy this version")
    ours, theirs = bytearray(artifact.deployed_bytecode), bytearray(code)
    for start, length in artifact.immutables:
        ours[start : start + length] = theirs[start : start + length] = bytes(length)
    if ours != theirs:
        offset = next(index for index, (left, right) in enumerate(zip(ours, theirs, strict=True)) if left != right)
        raise CodeDiffers(f"{where}: differs from the artifact from byte {offset} on; deploy this version")
