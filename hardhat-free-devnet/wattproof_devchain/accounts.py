"""The accounts everybody knows: the ones Hardhat and anvil fund, so that any tool finds them here too."""

from typing import NamedTuple

from eth_account.hdaccount.deterministic import HDPath
from eth_account.hdaccount.mnemonic import Mnemonic
from eth_keys.datatypes import PrivateKey

MNEMONIC = "test test test test test test test test test test test junk"
HD_PATH = "m/44'/60'/0'/0/{}"
BALANCE_WEI = 10_000 * 10**18
MAX_ACCOUNTS = 100
"""More would only slow the start (each key is derived); nothing on one machine needs more senders."""


class Account(NamedTuple):
    """A funded account. The key is public knowledge: it protects nothing."""

    address: bytes
    key: bytes


def known_accounts(count: int) -> list[Account]:
    """The first `count` accounts of the well-known mnemonic, always the same."""
    seed = Mnemonic.to_seed(MNEMONIC, "")
    keys = [bytes(HDPath(HD_PATH.format(i)).derive(seed)) for i in range(count)]
    return [Account(PrivateKey(key).public_key.to_canonical_address(), key) for key in keys]
