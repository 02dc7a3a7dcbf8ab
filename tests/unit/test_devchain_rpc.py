"""The JSON-RPC table: right answers, and an error with a sentence for anything else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wattproof_devchain import rpc
from wattproof_devchain.chain import Chain
from wattproof_devchain.journal import Journal

TOPIC = "0x" + "11" * 32
LOG_42 = "0x602a6000527f" + "11" * 32 + "60206000a100"
REVERT_NO = (  # reverts with Error("no")
    "0x7f08c379a000000000000000000000000000000000000000000000000000000000600052"
    "6020600452600260245261" + "6e6f" + "60f01b60445260646000fd"
)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    path: Path = tmp_path_factory.mktemp("rpc")
    chain = Chain(Journal(path / "j"), 1, accounts=3, clock=lambda: 1_800_000_000.0)
    yield chain
    chain.stop()


def ask(chain: Chain, method: str, *params: Any) -> Any:
    response = rpc.answer(chain, {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)})
    assert response["id"] == 7
    return response.get("result", response.get("error"))


def test_logs_are_found_by_topic_address_and_block_hash(chain: Chain) -> None:
    sender = chain.accounts[2]
    nonce = int(ask(chain, "eth_getTransactionCount", "0x" + sender.address.hex(), "latest"), 16)
    transaction = {
        "chainId": 31337, "nonce": nonce, "gas": 200_000, "data": LOG_42, "value": 0, "gasPrice": 10**10,
    }  # fmt: skip
    raw = Account.sign_transaction(transaction, sender.key).raw_transaction
    hash_ = ask(chain, "eth_sendRawTransaction", "0x" + raw.hex())
    assert ask(chain, "eth_getTransactionReceipt", hash_) is None
    assert ask(chain, "eth_getTransactionByHash", hash_)["blockHash"] is None
    ask(chain, "evm_mine")
    receipt = ask(chain, "eth_getTransactionReceipt", hash_)
    assert receipt["status"] == "0x1"
    address, block_hash, number = receipt["contractAddress"], receipt["blockHash"], receipt["blockNumber"]
    for wanted in (
        {"blockHash": block_hash},
        {"blockHash": block_hash, "topics": [[TOPIC, "0x" + "22" * 32]]},
        {"fromBlock": number, "toBlock": number, "address": address, "topics": [None]},
        {"fromBlock": "earliest", "toBlock": "latest", "address": [address.lower()]},
    ):
        logs = ask(chain, "eth_getLogs", wanted)
        assert [log["data"] for log in logs] == ["0x" + "00" * 31 + "2a"], wanted
        assert logs[0]["blockHash"] == block_hash
    for empty in ({"topics": ["0x" + "22" * 32], "fromBlock": "0x0"}, {"topics": [TOPIC, None], "fromBlock": "0x0"}):
        assert ask(chain, "eth_getLogs", empty) == []
    assert ask(chain, "eth_getLogs", {"blockHash": "0x" + "00" * 32})["code"] == -32000


def test_a_revert_is_told_as_geth_tells_it(chain: Chain) -> None:
    for method in ("eth_call", "eth_estimateGas"):
        error = ask(chain, method, {"data": REVERT_NO})
        assert error["code"] == 3
        assert error["message"] == "execution reverted: no"
        assert error["data"].startswith("0x08c379a0")


def test_final_and_safe_are_the_latest(chain: Chain) -> None:
    latest = ask(chain, "eth_getBlockByNumber", "latest", False)
    assert ask(chain, "eth_getBlockByNumber", "finalized", False) == latest
    assert ask(chain, "eth_getBlockByNumber", "safe", False) == latest
    assert ask(chain, "eth_getBlockByHash", latest["hash"], True)["hash"] == latest["hash"]
    assert ask(chain, "eth_getBlockByNumber", "0xffff", False) is None


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"jsonrpc": "2.0", "id": 1, "method": "eth_mining"}, -32601),
        ({"jsonrpc": "2.0", "id": 1, "method": "eth_getBalance"}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "eth_getBalance", "params": ["0x12", "latest"]}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "eth_getBalance", "params": ["0x" + "00" * 20, "soon"]}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "eth_getBalance", "params": ["0x" + "00" * 20, "0xffff"]}, -32000),
        ({"jsonrpc": "2.0", "id": 1, "method": "eth_getBalance", "params": {"a": 1}}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": ["x"]}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [{"data": "0x0"}]}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": [{"topics": {}}]}, -32602),
        ({"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": ["0xdead"]}, -32000),
        ({"jsonrpc": "2.0", "id": 1, "method": "evm_increaseTime", "params": [-1]}, -32602),
        ({"id": 1, "method": 3}, -32600),
        ({"id": {}, "method": "eth_chainId"}, -32600),
        ("hello", -32600),
        ([], -32600),
        (None, -32600),
    ],
)
def test_mistakes_are_json_rpc_errors(chain: Chain, request_: Any, code: int) -> None:
    error = rpc.answer(chain, request_)["error"]
    assert error["code"] == code
    assert error["message"]


def test_batches_and_notifications(chain: Chain) -> None:
    ask_id = {"jsonrpc": "2.0", "id": "a", "method": "eth_chainId"}
    silent = {"jsonrpc": "2.0", "method": "eth_chainId"}
    answers = rpc.answer(chain, [ask_id, silent, 5])
    assert [each.get("result") for each in answers] == ["0x7a69", None]
    assert rpc.answer(chain, silent) is None
    assert rpc.answer(chain, [silent]) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
    | st.sampled_from(["0x", "0x0", "latest", "pending", "0x" + "00" * 20, "0x" + "ff" * 32, "0x-1", "0x" + "f" * 80]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(["to", "from", "data", "input", "gas", "value", "topics", "address", "fromBlock", "toBlock",
                         "blockHash", "blockNumber", "timestamp"]),
        inner, max_size=4,
    ),
    max_leaves=8,
)  # fmt: skip
HARMLESS = sorted(set(rpc.METHODS) - {"evm_mine", "evm_setNextBlockTimestamp", "evm_increaseTime"})


@given(method=st.sampled_from(HARMLESS), params=st.lists(JSON, max_size=4))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_parameters_whatever_break_it(chain: Chain, method: str, params: list[Any]) -> None:
    response = rpc.answer(chain, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    json.dumps(response)
    assert "result" in response or response["error"]["code"] in (-32602, -32000, 3), response


@given(request_=JSON)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_request_whatever_breaks_it(chain: Chain, request_: Any) -> None:
    json.dumps(rpc.answer(chain, request_))
