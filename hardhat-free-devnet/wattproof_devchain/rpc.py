"""JSON-RPC 2.0: one table of methods over a chain. Takes and gives decoded JSON; knows nothing of HTTP.

Guarantees: every request is answered by a result or a JSON-RPC error with a sentence; nothing a client sends raises.
"""

import logging
from collections.abc import Callable
from typing import Any

from wattproof_devchain import CHAIN_ID, params, views
from wattproof_devchain.chain import Chain, Refused
from wattproof_devchain.evm import Block, CallFailed, Rejected, base_fee
from wattproof_devchain.params import BadParams, NoSuchBlock
from wattproof_devchain.views import Json

MAX_BATCH = 1_000
"""Requests in one batch; geth's limit."""
MAX_LOGS = 20_000
"""Logs in one answer (about 10 MB of JSON); a reader asks for fewer blocks instead."""
MAX_FEE_HISTORY = 1_024
"""Blocks in one eth_feeHistory; geth's limit."""
MAX_MINED_AT_ONCE = 1_000
"""Blocks in one evm_mine, which holds the lock (about a second)."""
GAS_TIP_WEI = 1
"""Nobody competes for space here."""

log = logging.getLogger(__name__)

Args = list[Any]
Method = Callable[[Chain, Args], Any]


def answer(chain: Chain, request: Any) -> Any:
    """Answer one decoded request or batch. None where nothing is to be said (notifications only)."""
    if isinstance(request, list):
        if not request or len(request) > MAX_BATCH:
            return _error(None, -32600, f"a batch holds 1 to {MAX_BATCH} requests, not {len(request)}")
        answers = [one for one in (_answer_one(chain, each) for each in request) if one is not None]
        return answers or None
    return _answer_one(chain, request)


def _answer_one(chain: Chain, request: Any) -> Json | None:
    if not isinstance(request, dict) or not isinstance(request.get("method"), str):
        return _error(None, -32600, 'a request is an object such as {"jsonrpc":"2.0","id":1,"method":"eth_chainId"}')
    identity = request.get("id")
    if not isinstance(identity, str | int | float | None):
        return _error(None, -32600, "id must be a string or a number")
    response = _run(chain, identity, request["method"], request.get("params", []))
    return response if "id" in request else None


def _run(chain: Chain, identity: Any, name: str, arguments: Any) -> Json:
    if name not in METHODS:
        return _error(identity, -32601, f"the method {name[:80]} does not exist on this development chain")
    method, least, most = METHODS[name]
    if arguments is None:
        arguments = []
    if not isinstance(arguments, list) or not least <= len(arguments) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        return _error(identity, -32602, f"{name} takes a list of {wanted} parameters")
    try:
        with chain.lock:
            result = method(chain, arguments + [None] * (most - len(arguments)))
    except BadParams as error:
        return _error(identity, -32602, f"{name}: {error}")
    except CallFailed as error:
        if error.data is None:
            return _error(identity, -32000, str(error))
        return _error(identity, 3, str(error), views.data(error.data))
    except (Rejected, Refused, NoSuchBlock) as error:
        return _error(identity, -32000, str(error))
    except Exception:
        log.exception("%s failed", name)
        return _error(identity, -32603, f"{name} failed inside the development chain; its log says why")
    return {"jsonrpc": "2.0", "id": identity, "result": result}


def _error(identity: Any, code: int, message: str, data: str | None = None) -> Json:
    error: Json = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": identity, "error": error}


# --- state ---


def _get_balance(chain: Chain, args: Args) -> str:
    block = params.block_or_pending(chain, args[1]) or chain.head
    return views.quantity(chain.balance(params.data(args[0], "address", 20), block))


def _get_nonce(chain: Chain, args: Args) -> str:
    return views.quantity(chain.nonce(params.data(args[0], "address", 20), params.block_or_pending(chain, args[1])))


def _get_code(chain: Chain, args: Args) -> str:
    block = params.block_or_pending(chain, args[1]) or chain.head
    return views.data(chain.code(params.data(args[0], "address", 20), block))


def _get_storage(chain: Chain, args: Args) -> str:
    block = params.block_or_pending(chain, args[2]) or chain.head
    value = chain.storage(params.data(args[0], "address", 20), params.quantity(args[1], "slot"), block)
    return views.data(value.to_bytes(32, "big"))


def _call(chain: Chain, args: Args) -> str:
    if args[2]:
        raise BadParams("state overrides are not supported here; leave the third parameter out")
    return views.data(chain.call(params.call_of(args[0]), params.block_or_pending(chain, args[1])))


def _estimate_gas(chain: Chain, args: Args) -> str:
    # Without a block the estimate is made for the next one: the clock has moved on since the last.
    block = None if args[1] in (None, "latest") else params.block_or_pending(chain, args[1])
    return views.quantity(chain.estimate_gas(params.call_of(args[0]), block))


# --- blocks and transactions ---


def _get_block_by_number(chain: Chain, args: Args) -> Json | None:
    return _block_view(chain.block(params.block_number(chain, args[0])), args[1])


def _get_block_by_hash(chain: Chain, args: Args) -> Json | None:
    return _block_view(chain.block_of_hash(params.data(args[0], "blockHash", 32)), args[1])


def _block_view(block: Block | None, full: Any) -> Json | None:
    if not isinstance(full, bool | None):
        raise BadParams("the second parameter says whether to give whole transactions: true or false")
    return None if block is None else views.block_view(block, bool(full))


def _get_transaction(chain: Chain, args: Args) -> Json | None:
    found = chain.find(params.data(args[0], "transactionHash", 32))
    if found is None:
        return None
    if isinstance(found, tuple):
        block, index = found
        return views.transaction_view(block.transactions[index], block, index)
    return views.transaction_view(found, None, 0)


def _get_receipt(chain: Chain, args: Args) -> Json | None:
    found = chain.find(params.data(args[0], "transactionHash", 32))
    return views.receipt_view(*found) if isinstance(found, tuple) else None


def _get_block_receipts(chain: Chain, args: Args) -> list[Json] | None:
    block = chain.block(params.block_number(chain, args[0]))
    return None if block is None else [views.receipt_view(block, index) for index in range(len(block.transactions))]


def _send_raw(chain: Chain, args: Args) -> str:
    return views.data(chain.send(params.data(args[0], "transaction")))


def _get_logs(chain: Chain, args: Args) -> list[Json]:
    wanted = args[0]
    if not isinstance(wanted, dict):
        raise BadParams("filter: expected an object")
    addresses = _addresses(wanted.get("address"))
    topics = _topics(wanted.get("topics"))
    if wanted.get("blockHash") is not None:
        if wanted.get("fromBlock") is not None or wanted.get("toBlock") is not None:
            raise BadParams("filter: give blockHash, or fromBlock and toBlock, not both")
        block = chain.block_of_hash(params.data(wanted["blockHash"], "filter.blockHash", 32))
        if block is None:
            raise NoSuchBlock("unknown block: no such block on the present chain")
        numbers = range(block.number, block.number + 1)
    else:
        first = params.block_number(chain, wanted.get("fromBlock"), "filter.fromBlock")
        last = params.block_number(chain, wanted.get("toBlock"), "filter.toBlock")
        numbers = range(first, min(last, chain.head.number) + 1)
    found: list[Json] = []
    for number in numbers:
        block = chain.block(number)
        if block is None or not block.header.bloom:
            continue
        found += [view for view in views.log_views(block) if _matches(view, addresses, topics)]
        if len(found) > MAX_LOGS:
            raise BadParams(f"filter: more than {MAX_LOGS} logs; ask for fewer blocks at a time")
    return found


def _addresses(value: Any) -> set[str] | None:
    if value is None:
        return None
    several = value if isinstance(value, list) else [value]
    return {views.data(params.data(each, "filter.address", 20)) for each in several} or None


def _topics(value: Any) -> list[set[str] | None]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > 4:
        raise BadParams("filter.topics: expected a list of at most 4, each null, a topic, or a list of topics")
    wanted: list[set[str] | None] = []
    for each in value:
        several = each if isinstance(each, list) else [each]
        one_of = {views.data(params.data(topic, "filter.topics", 32)) for topic in several if topic is not None}
        wanted.append(None if each is None or None in several else one_of or None)
    return wanted


def _matches(view: Json, addresses: set[str] | None, topics: list[set[str] | None]) -> bool:
    if addresses is not None and view["address"].lower() not in addresses:
        return False
    if len(topics) > len(view["topics"]):
        return False
    return all(one_of is None or topic in one_of for one_of, topic in zip(topics, view["topics"], strict=False))


# --- fees ---


def _gas_price(chain: Chain, args: Args) -> str:
    return views.quantity(chain.next_base_fee() + GAS_TIP_WEI)


def _fee_history(chain: Chain, args: Args) -> Json:
    count = params.quantity(args[0], "blockCount", 32)
    last = params.block_number(chain, args[1], "newestBlock")
    if last > chain.head.number:
        raise NoSuchBlock(f"header not found: the chain has no block {last}")
    percentiles = args[2] or []
    if not isinstance(percentiles, list) or len(percentiles) > 100:
        raise BadParams("rewardPercentiles: expected a list of at most 100 numbers")
    first = max(0, last + 1 - min(count, MAX_FEE_HISTORY))
    blocks = [block for number in range(first, last + 1) if (block := chain.block(number)) is not None]
    following = chain.block(last + 1)
    next_fee = chain.next_base_fee() if following is None else base_fee(following.header)
    return {
        "oldestBlock": views.quantity(first),
        "baseFeePerGas": [views.quantity(base_fee(block.header)) for block in blocks] + [views.quantity(next_fee)],
        "gasUsedRatio": [block.header.gas_used / block.header.gas_limit for block in blocks],
        "reward": [[views.quantity(GAS_TIP_WEI) for _ in percentiles] for _ in blocks],
    }


# --- helpers for tests and demonstrations ---


def _increase_time(chain: Chain, args: Args) -> int:
    return chain.increase_time(params.quantity(args[0], "seconds", 41))


def _set_next_timestamp(chain: Chain, args: Args) -> None:
    chain.set_next_timestamp(params.quantity(args[0], "timestamp", 64))


def _mine(chain: Chain, args: Args) -> str:
    options = args[0] if isinstance(args[0], dict) else {"timestamp": args[0]}
    timestamp, blocks = options.get("timestamp"), options.get("blocks")
    count = 1 if blocks is None else params.quantity(blocks, "blocks", 32)
    if count > MAX_MINED_AT_ONCE:
        raise BadParams(f"blocks: at most {MAX_MINED_AT_ONCE} at once")
    for index in range(count):
        chain.mine(params.quantity(timestamp, "timestamp", 64) if timestamp is not None and index == 0 else None)
    return "0x0"


def _revert(chain: Chain, args: Args) -> bool:
    return chain.revert(params.quantity(args[0], "snapshot", 32))


METHODS: dict[str, tuple[Method, int, int]] = {
    "web3_clientVersion": (lambda chain, args: "wattproof-devchain/1 (py-evm, paris)", 0, 0),
    "net_version": (lambda chain, args: str(CHAIN_ID), 0, 0),
    "net_listening": (lambda chain, args: True, 0, 0),
    "eth_chainId": (lambda chain, args: views.quantity(CHAIN_ID), 0, 0),
    "eth_syncing": (lambda chain, args: False, 0, 0),
    "eth_accounts": (lambda chain, args: [views.data(each.address) for each in chain.accounts], 0, 0),
    "eth_blockNumber": (lambda chain, args: views.quantity(chain.head.number), 0, 0),
    "eth_getBalance": (_get_balance, 1, 2),
    "eth_getTransactionCount": (_get_nonce, 1, 2),
    "eth_getCode": (_get_code, 1, 2),
    "eth_getStorageAt": (_get_storage, 2, 3),
    "eth_call": (_call, 1, 3),
    "eth_estimateGas": (_estimate_gas, 1, 2),
    "eth_getBlockByNumber": (_get_block_by_number, 1, 2),
    "eth_getBlockByHash": (_get_block_by_hash, 1, 2),
    "eth_getBlockReceipts": (_get_block_receipts, 1, 1),
    "eth_getTransactionByHash": (_get_transaction, 1, 1),
    "eth_getTransactionReceipt": (_get_receipt, 1, 1),
    "eth_sendRawTransaction": (_send_raw, 1, 1),
    "eth_getLogs": (_get_logs, 1, 1),
    "eth_gasPrice": (_gas_price, 0, 0),
    "eth_maxPriorityFeePerGas": (lambda chain, args: views.quantity(GAS_TIP_WEI), 0, 0),
    "eth_feeHistory": (_fee_history, 2, 3),
    "evm_increaseTime": (_increase_time, 1, 1),
    "evm_setNextBlockTimestamp": (_set_next_timestamp, 1, 1),
    "evm_mine": (_mine, 0, 1),
    "evm_snapshot": (lambda chain, args: views.quantity(chain.snapshot()), 0, 0),
    "evm_revert": (_revert, 1, 1),
}
"""Name → (what it does, fewest parameters, most parameters)."""
