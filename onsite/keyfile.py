"""Key files: Ethereum's format version 3 (scrypt), mode 0600; and whole files that survive a power cut.

The passphrase comes from a file, a systemd credential (`$CREDENTIALS_DIRECTORY/wattproof-agent`) or an open file descriptor, never from a
command line or the environment. That protects copies, backups and a stolen disk, as long as the passphrase is kept elsewhere. It does not
protect against root on the running machine. Secrets are never printed, logged or part of an error.

Source: Web3 Secret Storage Definition v3.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from .errors import KeystoreError

SCRYPT_N = 1 << 15
"""32 MiB and a tenth of a second: fits the small computers agents run on. The passphrase is expected to be random,
not memorable.
"""
MIN_PASSPHRASE_BYTES = 12
MAX_PASSPHRASE_BYTES = 1024
"""A passphrase file longer than this is some other file given by mistake."""
CREDENTIAL_NAME = "wattproof-agent"


def read_passphrase(file: Path | None, descriptor: int | None) -> bytes:
    """The passphrase from the file, else the descriptor, else the systemd credential. White space at the ends does
    not count.
    """
    if file is None and descriptor is None:
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        if directory is None:
            raise KeystoreError(
                f"no passphrase: give --passphrase-file FILE, --passphrase-fd N, or a systemd credential named {CREDENTIAL_NAME}"
            )
        file = Path(directory) / CREDENTIAL_NAME
    try:
        if file is not None:
            mode = file.stat().st_mode
            if stat.S_ISREG(mode) and mode & (stat.S_IROTH | stat.S_IWOTH):
                raise KeystoreError(f"{file} can be read or written by everybody; do: chmod 600 {file}")
            raw = file.read_bytes()
        else:
            with os.fdopen(os.dup(descriptor or 0), "rb") as stream:
                raw = stream.read(MAX_PASSPHRASE_BYTES + 2)
    except OSError as error:
        source = file if file is not None else f"file descriptor {descriptor}"
        raise KeystoreError(f"the passphrase cannot be read from {source}: {error.strerror}") from None
    passphrase = raw.strip()
    if not MIN_PASSPHRASE_BYTES <= len(passphrase) <= MAX_PASSPHRASE_BYTES:
        raise KeystoreError(f"a passphrase has {MIN_PASSPHRASE_BYTES}…{MAX_PASSPHRASE_BYTES} bytes, this one {len(passphrase)}")
    return passphrase


def write_durably(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a whole file so that after a power cut there is either the old one or the new one. Raises `OSError`."""
    temporary = path.with_name(path.name + ".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(handle, mode)
        os.write(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(temporary, path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make new and removed names in a directory durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_key(path: Path, secret: bytes, passphrase: bytes) -> None:
    """Write a secret of 32 bytes, encrypted."""
    from eth_keyfile.keyfile import create_keyfile_json  # 0.5 s to import, so only where it is needed

    document = create_keyfile_json(secret, passphrase, kdf="scrypt", iterations=SCRYPT_N)
    write_durably(path, json.dumps(document).encode() + b"\n")


def read_key(path: Path, passphrase: bytes, made_by: str) -> bytes:
    """The secret in a key file; `made_by` is the command that makes one. Raises `KeystoreError`."""
    from eth_keyfile.keyfile import decode_keyfile_json

    try:
        mode = path.stat().st_mode
        document = json.loads(path.read_text())
    except OSError as error:
        raise KeystoreError(f"{path}: {error.strerror}; make keys with: {made_by}") from None
    except ValueError:
        raise KeystoreError(f"{path} is not a key file (not JSON); restore it from its backup") from None
    if mode & 0o077:
        raise KeystoreError(f"{path} is open to others (mode {stat.S_IMODE(mode):o}); do: chmod 600 {path}")
    try:
        return bytes(decode_keyfile_json(document, passphrase))
    except Exception as error:  # the library's own errors differ by field; none carries the secret, but none is shown either
        raise KeystoreError(f"{path} does not open ({type(error).__name__}): wrong passphrase, or the file is damaged") from None
