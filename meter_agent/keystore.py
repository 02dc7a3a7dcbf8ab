"""Keys made on the device, kept encrypted in the state folder (`onsite.keyfile`).

Two files: `meter.json` (the meter key: frames, confirmations) and `charge-root.json` (32 random bytes from which each
session's charge key is derived with HKDF-SHA256, so that no key need be written while a session opens, and nobody
without the root can link two sessions).

Source: RFC 5869 (HKDF).
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from onsite.errors import KeystoreError
from onsite.keyfile import read_key, write_durably, write_key
from protocol.keys import Signer


class Keystore:
    """The key files of one agent, in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def exists(self) -> bool:
        return (self.directory / "meter.json").exists()

    def create(self, passphrase: bytes) -> Signer:
        """Make both secrets. Refuses to touch existing keys: evidence signed by them would lose its signer."""
        if self.exists:
            raise KeystoreError(f"{self.directory} already holds keys; an enrolled meter key is changed by rotation, not by init")
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        meter = Signer.create()
        self._write("charge-root", Signer.create().secret, passphrase)
        self._write("meter", meter.secret, passphrase)  # last, because its presence means "complete"
        return meter

    def meter(self, passphrase: bytes) -> Signer:
        """The meter key."""
        return Signer(self._read("meter", passphrase))

    def charge_keys(self, passphrase: bytes) -> ChargeKeys:
        """The source of charge keys."""
        return ChargeKeys(self._read("charge-root", passphrase))

    def replace_meter(self, signer: Signer, passphrase: bytes, retired: str) -> None:
        """Put a rotated meter key in place; the old file stays beside it as `meter-<retired>.json`."""
        current = self.directory / "meter.json"
        write_durably(self.directory / f"meter-{retired}.json", current.read_bytes())
        self._write("meter", signer.secret, passphrase)

    def _write(self, name: str, secret: bytes, passphrase: bytes) -> None:
        write_key(self.directory / f"{name}.json", secret, passphrase)

    def _read(self, name: str, passphrase: bytes) -> bytes:
        return read_key(self.directory / f"{name}.json", passphrase, "python -m meter_agent init")


class ChargeKeys:
    """Charge keys by index: the same index always gives the same key."""

    def __init__(self, root: bytes) -> None:
        self._root = root

    def key(self, device: bytes, channel: int, index: int) -> Signer:
        """The charge key number `index` of a point."""
        info = b"wattproof charge key" + device + channel.to_bytes(4, "big") + index.to_bytes(8, "big")
        return Signer(HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self._root))

    def __repr__(self) -> str:
        return "ChargeKeys(…)"
