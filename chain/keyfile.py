"""Accounts of the command line: Web3 Secret Storage (v3) files, or a development chain's well-known accounts.

Raises `KeyRefused` with a sentence that says what to do; never shows a secret.
"""

from __future__ import annotations

import getpass
import json
import stat
import sys
from pathlib import Path

from chain.errors import Permanent

DEVELOPMENT_CHAIN_ID = 31337
DEVELOPMENT_MNEMONIC = "test test test test test test test test test test test junk"
"""The accounts that development chains fund. Everybody has these keys."""


class KeyRefused(Permanent):
    """A key that cannot be read or must not be used."""


def secret_of(rpc_url: str, key_file: Path | None, passphrase_file: Path | None, dev_account: int | None) -> bytes:
    """The key of `key_file` or, on a development chain only, of its account `dev_account`."""
    if (key_file is None) == (dev_account is None):
        raise KeyRefused("give either --key-file or --dev-account")
    if key_file is not None:
        return from_key_file(key_file, passphrase_file)
    from chain.rpc import Rpc

    with Rpc(rpc_url) as rpc:
        chain_id = rpc.chain_id()
    if chain_id != DEVELOPMENT_CHAIN_ID:
        raise KeyRefused(f"--dev-account: everybody has that key, and chain {chain_id} is no development chain; use --key-file")
    assert dev_account is not None
    return dev_secret(dev_account)


def dev_secret(number: int) -> bytes:
    """Account `number` of every development chain (BIP-32 path m/44'/60'/0'/0/number)."""
    from eth_account.hdaccount.deterministic import HDPath
    from eth_account.hdaccount.mnemonic import Mnemonic

    return bytes(HDPath(f"m/44'/60'/0'/0/{number}").derive(Mnemonic.to_seed(DEVELOPMENT_MNEMONIC)))


def from_key_file(path: Path, passphrase_file: Path | None) -> bytes:
    """The key in a file that only its owner can read; its passphrase from another such file, or asked for."""
    from eth_account import Account

    try:
        for each in (path, passphrase_file):
            if each is not None and stat.S_IMODE(each.stat().st_mode) & 0o077:
                raise KeyRefused(f"{each}: others may read it; chmod 600 it first")
        document = json.loads(path.read_bytes())
        if passphrase_file is not None:
            passphrase = passphrase_file.read_text().rstrip("\n")
        elif sys.stdin.isatty():
            passphrase = getpass.getpass(f"Passphrase of {path}: ")
        else:
            raise KeyRefused("--passphrase-file: needed where nobody can be asked")
        return bytes(Account.decrypt(document, passphrase))
    except OSError as error:
        raise KeyRefused(f"{error.filename}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        why = "wrong passphrase" if "MAC" in str(error) else "it is not a Web3 Secret Storage (v3) file"
        raise KeyRefused(f"{path}: {why}") from None
