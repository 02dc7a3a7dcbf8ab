"""Reading JSON-RPC parameters. Whatever a client sends, the answer is a value or one `BadParams` that names the parameter."""

from typing import Any

from wattproof_devchain.chain import Chain
from wattproof_devchain.evm import Block, Call

MAX_DATA_BYTES = 1024 * 1024
"""Far above the largest transaction that fits a block's gas (30,000,000 / 16 per byte of data is 1.9 MB of zero-free data)."""


class BadParams(Exception):
    """JSON-RPC error -32602: a parameter is missing, of the wrong kind, or out of range."""


class NoSuchBlock(Exception):
    """JSON-RPC error -32000, in geth's words ("header not found"): a state was asked for at a block that is not there."""


def quantity(value: Any, name: str, bits: int = 256) -> int:
    """A 0x… number; plain JSON integers are taken too, as Hardhat and anvil do."""
    if isinstance(value, str) and value[:2] == "0x" and 2 < len(value) <= 66:
        try:
            number = int(value[2:], 16)
        except ValueError:
            number = -1
        if value[2] in "+-_" or "_" in value:
            number = -1
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        number = -1
    if not 0 <= number < 1 << bits:
        raise BadParams(f"{name}: expected a number from 0 to 2^{bits} - 1 such as 0x1f, got {_shown(value)}")
    return number


def data(value: Any, name: str, length: int | None = None) -> bytes:
    """0x… bytes; of exactly `length` bytes where given."""
    raw: bytes | None = None
    if isinstance(value, str) and value[:2] == "0x" and len(value) <= 2 + 2 * MAX_DATA_BYTES and " " not in value:
        try:
            raw = bytes.fromhex(value[2:])
        except ValueError:
            raw = None
    if raw is None or (length is not None and len(raw) != length):
        size = "" if length is None else f"{length} "
        raise BadParams(f"{name}: expected {size}bytes as 0x-prefixed hex, got {_shown(value)}")
    return raw


def block_or_pending(chain: Chain, value: Any, name: str = "block") -> Block | None:
    """A block for state and calls: a tag, a number, a hash, or EIP-1898 {"blockHash"|"blockNumber"}.

    None means *pending*.
    """
    if value == "pending":
        return None
    if isinstance(value, str) and len(value) == 66 and value.startswith("0x"):
        return block_or_pending(chain, {"blockHash": value}, name)
    if isinstance(value, dict):
        if "blockHash" in value:
            found = chain.block_of_hash(data(value["blockHash"], f"{name}.blockHash", 32))
            if found is None:
                raise NoSuchBlock("header for hash not found: no such block on the present chain")
            return found
        if "blockNumber" in value:
            return block_or_pending(chain, value["blockNumber"], f"{name}.blockNumber")
        raise BadParams(f'{name}: an object must hold "blockHash" or "blockNumber"')
    found = chain.block(block_number(chain, value, name))
    if found is None:
        raise NoSuchBlock(f"header not found: the chain has no block {_shown(value)}")
    return found


def block_number(chain: Chain, value: Any, name: str = "block") -> int:
    """A block's number from a tag or number. Nothing can be undone here by consensus: final and safe are the latest."""
    if value is None or value in ("latest", "safe", "finalized", "pending"):
        return chain.head.number
    if value == "earliest":
        return 0
    return quantity(value, name, 64)


def call_of(value: Any) -> Call:
    """The transaction object of eth_call and eth_estimateGas; prices and nonce are accepted and not needed."""
    if not isinstance(value, dict):
        raise BadParams(f"transaction: expected an object, got {_shown(value)}")
    payload = value.get("input", value.get("data"))
    gas = value.get("gas")
    return Call(
        sender=bytes(20) if value.get("from") is None else data(value["from"], "transaction.from", 20),
        to=b"" if value.get("to") is None else data(value["to"], "transaction.to", 20),
        data=b"" if payload is None else data(payload, "transaction.input"),
        value=0 if value.get("value") is None else quantity(value["value"], "transaction.value"),
        gas=None if gas is None else quantity(gas, "transaction.gas", 64),
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
