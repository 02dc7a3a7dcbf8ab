"""Blocks, transactions, receipts and logs as JSON-RPC shows them (execution-apis, geth's field names)."""

from collections.abc import Iterator
from typing import Any

import rlp  # type: ignore[import-untyped]
from eth._utils.address import generate_contract_address
from eth.abc import SignedTransactionAPI
from eth_utils.address import to_checksum_address

from wattproof_devchain.evm import Block, base_fee

Json = dict[str, Any]


def quantity(value: int) -> str:
    return hex(value)


def data(value: bytes) -> str:
    return "0x" + bytes(value).hex()


def block_view(block: Block, full: bool) -> Json:
    """A block, with whole transactions or only their hashes."""
    header = block.header
    transactions: list[Any] = [
        transaction_view(each, block, index) if full else data(each.hash) for index, each in enumerate(block.transactions)
    ]
    return {
        "number": quantity(block.number),
        "hash": data(block.hash),
        "parentHash": data(header.parent_hash),
        "nonce": data(header.nonce),
        "mixHash": data(header.mix_hash),
        "sha3Uncles": data(header.uncles_hash),
        "logsBloom": data(int(header.bloom).to_bytes(256, "big")),
        "transactionsRoot": data(header.transaction_root),
        "stateRoot": data(header.state_root),
        "receiptsRoot": data(header.receipt_root),
        "miner": to_checksum_address(header.coinbase),
        "difficulty": "0x0",
        "totalDifficulty": "0x0",
        "extraData": data(header.extra_data),
        "size": quantity(len(rlp.encode(header)) + sum(len(each.encode()) for each in block.transactions)),
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(block.timestamp),
        "baseFeePerGas": quantity(base_fee(header)),
        "transactions": transactions,
        "uncles": [],
    }


def transaction_view(transaction: SignedTransactionAPI, block: Block | None, index: int) -> Json:
    """A transaction; `block` is None while it waits."""
    kind = transaction.type_id or 0
    view: Json = {
        "hash": data(transaction.hash),
        "type": quantity(kind),
        "nonce": quantity(transaction.nonce),
        "from": to_checksum_address(transaction.sender),
        "to": to_checksum_address(transaction.to) if transaction.to else None,
        "value": quantity(transaction.value),
        "gas": quantity(transaction.gas),
        "gasPrice": quantity(_price(transaction, block)),
        "input": data(transaction.data),
        "chainId": quantity(transaction.chain_id or 0),
        "v": quantity(_v(transaction)),
        "r": quantity(transaction.r),
        "s": quantity(transaction.s),
        "blockHash": None if block is None else data(block.hash),
        "blockNumber": None if block is None else quantity(block.number),
        "transactionIndex": None if block is None else quantity(index),
    }
    if kind >= 1:
        view["yParity"] = quantity(transaction.y_parity)
        view["accessList"] = [
            {"address": to_checksum_address(address), "storageKeys": [data(slot.to_bytes(32, "big")) for slot in slots]}
            for address, slots in transaction.access_list
        ]
    if kind == 2:
        view["maxFeePerGas"] = quantity(transaction.max_fee_per_gas)
        view["maxPriorityFeePerGas"] = quantity(transaction.max_priority_fee_per_gas)
    return view


def receipt_view(block: Block, index: int) -> Json:
    transaction, receipt = block.transactions[index], block.receipts[index]
    before = block.receipts[index - 1].gas_used if index else 0
    created = None
    if not transaction.to:
        created = to_checksum_address(generate_contract_address(transaction.sender, transaction.nonce))
    return {
        "transactionHash": data(transaction.hash),
        "transactionIndex": quantity(index),
        "blockHash": data(block.hash),
        "blockNumber": quantity(block.number),
        "from": to_checksum_address(transaction.sender),
        "to": to_checksum_address(transaction.to) if transaction.to else None,
        "contractAddress": created,
        "type": quantity(transaction.type_id or 0),
        "status": quantity(int.from_bytes(receipt.state_root, "big")),
        "gasUsed": quantity(receipt.gas_used - before),
        "cumulativeGasUsed": quantity(receipt.gas_used),
        "effectiveGasPrice": quantity(_price(transaction, block)),
        "logsBloom": data(int(receipt.bloom).to_bytes(256, "big")),
        "logs": [view for view in log_views(block) if view["transactionIndex"] == quantity(index)],
    }


def log_views(block: Block) -> Iterator[Json]:
    """Every log of a block, with its index in the block."""
    position = 0
    for index, receipt in enumerate(block.receipts):
        for each in receipt.logs:
            yield {
                "address": to_checksum_address(each.address),
                "topics": [data(topic.to_bytes(32, "big")) for topic in each.topics],
                "data": data(each.data),
                "blockNumber": quantity(block.number),
                "blockHash": data(block.hash),
                "transactionHash": data(block.transactions[index].hash),
                "transactionIndex": quantity(index),
                "logIndex": quantity(position),
                "removed": False,
            }
            position += 1


def _v(transaction: SignedTransactionAPI) -> int:
    """A legacy transaction carries its chain id in v (EIP-155), a typed one the bare parity."""
    legacy = getattr(transaction, "v", None)
    return transaction.y_parity if transaction.type_id else int(legacy or 0)


def _price(transaction: SignedTransactionAPI, block: Block | None) -> int:
    """What a unit of gas cost, in wei: base fee plus tip, never above the cap. While it waits: the cap."""
    if block is None:
        return int(transaction.max_fee_per_gas)
    return int(min(transaction.max_fee_per_gas, transaction.max_priority_fee_per_gas + base_fee(block.header)))
