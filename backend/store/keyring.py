"""The service's keys: one role each, in Web3 Secret Storage v3 files, encrypted and mode 0600.

The passphrase comes from a file (or a systemd credential) outside the state folder. That protects copies and backups of the state folder;
it does not protect against root on the running machine. Secrets never appear in logs, URLs or error texts.

Control keys are one a device (the registry takes a key once), derived from the control seed, so one file and one backup hold all of
them: secret = keccak("wattproof control key" ‖ seed ‖ device ‖ uint32 generation).
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from eth_keyfile.keyfile import create_keyfile_json, decode_keyfile_json

from protocol.hashing import keccak
from protocol.keys import Signer

from ..errors import Misconfigured

KDF_ROUNDS = 1 << 14
"""scrypt's cost. The passphrase `init` writes has 256 random bits, so a slower function would only slow the start."""
_CONTROL_LABEL = b"wattproof control key"


def _private(path: Path, what: str) -> None:
    if not path.exists():
        raise Misconfigured(f"{path} does not exist; `python -m backend init` makes it", what)
    if path.stat().st_mode & 0o077:
        raise Misconfigured(f"{path} can be read by others; run: chmod 600 {path}", what)


def write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner can read. Raises `Misconfigured` if it exists."""
    import os

    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Misconfigured(f"{path} exists already and is not overwritten; move it away first", str(path)) from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)


def read_secret(path: Path, what: str) -> str:
    """The text of a 0600 file, without the line's end."""
    _private(path, what)
    text = path.read_text(encoding="utf-8").strip()
    if not text:
        raise Misconfigured(f"{path} is empty", what)
    return text


def create_key(path: Path, passphrase: str) -> Signer:
    """A new random key in a new key file."""
    return save_key(path, passphrase, Signer(secrets.token_bytes(32)))


def save_key(path: Path, passphrase: str, signer: Signer) -> Signer:
    document = create_keyfile_json(signer.secret, passphrase.encode(), iterations=KDF_ROUNDS, kdf="scrypt")
    write_private(path, json.dumps(document))
    return signer


def load_key(path: Path, passphrase: str, what: str) -> Signer:
    """The key in a key file. Raises `Misconfigured`."""
    _private(path, what)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Signer(bytes(decode_keyfile_json(document, passphrase.encode())))
    except Exception as error:
        reason = "the passphrase does not open it" if "MAC" in str(error) else "it is not a Web3 Secret Storage v3 file"
        raise Misconfigured(f"{path}: {reason}", what) from None


class ControlKeys:
    """The control key of each device, derived from one seed."""

    def __init__(self, seed: Signer) -> None:
        self._seed = seed.secret
        self._made: dict[tuple[bytes, int], Signer] = {}

    def of(self, device: bytes, generation: int) -> Signer:
        """The control key number `generation` (from 1) of a device."""
        place = (device, generation)
        if place not in self._made:
            self._made[place] = Signer(keccak(_CONTROL_LABEL + self._seed + device + generation.to_bytes(4, "big")))
        return self._made[place]
