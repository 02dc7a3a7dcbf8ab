"""The pay key: made on the device, kept encrypted. Lost or stolen it costs at most what the wallet's policy allows."""

from __future__ import annotations

from pathlib import Path

from onsite.keyfile import read_key, write_key
from protocol.keys import Signer

MADE_BY = "python -m buyer_agent init"


def _path(state: Path) -> Path:
    return state / "keys" / "pay.json"


def make_key(state: Path, passphrase: bytes) -> bytes:
    """The address of the pay key in `state`, made if there is none. Raises `KeystoreError` where the passphrase is another."""
    path = _path(state)
    if path.exists():
        return read_pay_key(state, passphrase).address
    for folder in (state, path.parent):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    signer = Signer.create()
    write_key(path, signer.secret, passphrase)
    return signer.address


def read_pay_key(state: Path, passphrase: bytes) -> Signer:
    """The pay key. Raises `KeystoreError`."""
    return Signer(read_key(_path(state), passphrase, MADE_BY))
