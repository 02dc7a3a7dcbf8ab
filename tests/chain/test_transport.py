"""Chain answers are a door too: whatever a node says, the client returns what its type says or raises a `ChainError`."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain import rpc as rpc_module
from chain.client import SIGNATURE_GAS, ChainClient
from chain.deployment import Deployment
from chain.errors import BadAnswer, Busy, ChainError, Permanent, Reverted, RpcRefused, Unreachable
from chain.events import EventReader
from chain.rpc import Block, BlockRef, Receipt, Rpc
from chain.wallet_views import CLONE_BYTES, WalletViews

DEPLOYMENT = Deployment(31337, b"\x01" * 32, 0, b"\x02" * 20, b"\x03" * 20, b"\x04" * 20, b"\x05" * 20)


class StrangeNode(ThreadingHTTPServer):
    """A real HTTP server that answers what the test wants: `body` for bytes as they are, `result` or `error` in JSON-RPC."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body, self.document = 200, b"", {}  # type: tuple[int, bytes, dict[str, Any]] | Any
        self.asked: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def say(self, **document: Any) -> None:
        self.asked.clear()
        self.status, self.body, self.document = 200, b"", document


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two would wait for each other
    server: StrangeNode

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(request)
        body = self.server.body or json.dumps({"jsonrpc": "2.0", "id": request["id"]} | self.server.document).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def node() -> Iterator[StrangeNode]:
    server = StrangeNode()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def client(node: StrangeNode, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChainClient]:
    monkeypatch.setattr(rpc_module, "READ_ATTEMPTS", 1)
    with ChainClient(node.url, DEPLOYMENT, timeout_s=5) as client:
        yield client


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 3, "message": "execution reverted", "data": "0x"}, Reverted),
        ({"code": -32000, "message": "VM Exception: revert", "data": {"data": "0xdeadbeef"}}, Reverted),
        ({"code": -32000, "message": "header not found"}, Busy),
        ({"code": -32005, "message": "slow down"}, Busy),
        ({"code": -32603, "message": "internal"}, Busy),
        ({"code": -32000, "message": "nonce too low"}, RpcRefused),
        ({"code": -32601, "message": "no such method"}, RpcRefused),
        ({"code": "x", "message": None}, RpcRefused),
        ("broken", BadAnswer),
        ([], BadAnswer),
    ],
)
def test_errors_are_told_apart(node: StrangeNode, client: ChainClient, error: Any, kind: type[ChainError]) -> None:
    node.say(error=error)
    with pytest.raises(kind):
        client.code(bytes(20))


def test_a_contracts_error_is_decoded_with_its_values(node: StrangeNode, client: ChainClient) -> None:
    from protocol.hashing import keccak

    data = keccak(b"HeadMoved(bytes32,bytes32)")[:4] + b"\x01" * 32 + b"\x02" * 32
    node.say(error={"code": 3, "message": "execution reverted", "data": "0x" + data.hex()})
    with pytest.raises(Reverted, match="HeadMoved") as caught:
        client.anchor_head(bytes(20))
    assert caught.value.arguments == {"given": b"\x01" * 32, "standing": b"\x02" * 32}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"<html>", BadAnswer),
        (200, b'{"id":-1,"result":"0x1"}', BadAnswer),
        (200, b"[" * 100_000, BadAnswer),
        (503, b"busy", Unreachable),
        (429, b"busy", Unreachable),
        (401, b"who are you", Permanent),
    ],
)
def test_http_troubles_are_told_apart(node: StrangeNode, client: ChainClient, status: int, body: bytes, kind: type[ChainError]) -> None:
    node.say()
    node.status, node.body = status, body
    with pytest.raises(kind):
        client.chain_id()


def test_an_answer_without_end_is_cut_off(node: StrangeNode, client: ChainClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chain.transport.MAX_ANSWER_BYTES", 1_000)
    node.say(result="0x" + "00" * 2_000)
    with pytest.raises(BadAnswer, match="more than 1000 bytes"):
        client.code(bytes(20))


def test_an_address_that_is_none_is_refused() -> None:
    for url in ("", "ftp://x", "http://", "node:8545"):
        with pytest.raises(Permanent, match="URL"):
            Rpc(url)


HEX = st.sampled_from(["0x", "0x0", "0x1", "0x" + "00" * 32, "0x" + "ab" * 32, "0x" + "00" * 20, "0x" + "f" * 70, "zz", "0xzz", "latest"])
SCALAR = st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats(allow_nan=False) | st.text(max_size=5) | HEX
BLOCK_FIELDS = ["number", "hash", "parentHash", "timestamp", "baseFeePerGas", "extraData", "transactions", "logsBloom"]
RECEIPT_FIELDS = ["transactionHash", "blockNumber", "blockHash", "status", "gasUsed", "logs", "contractAddress", "effectiveGasPrice"]
LOG_FIELDS = ["blockNumber", "blockHash", "transactionHash", "logIndex", "address", "topics", "data", "removed"]
RESULT = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(BLOCK_FIELDS + RECEIPT_FIELDS + LOG_FIELDS), inner, max_size=12)
    | st.fixed_dictionaries(dict.fromkeys(BLOCK_FIELDS, inner))
    | st.fixed_dictionaries(dict.fromkeys(RECEIPT_FIELDS, inner))
    | st.fixed_dictionaries(dict.fromkeys(LOG_FIELDS, inner)),
    max_leaves=25,
)


@given(result=RESULT)
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_answer_whatever_breaks_the_client(node: StrangeNode, client: ChainClient, result: Any) -> None:
    node.say(result=result)
    questions: list[Any] = [
        (client.chain_id, int), (client.head, Block), (lambda: client.block(3), Block | None), (lambda: client.code(bytes(20)), bytes),
        (lambda: client.nonce(bytes(20)), int), (lambda: client.receipt(bytes(32)), Receipt | None), (lambda: client.send(b"\x01"), bytes),
        (lambda: client.logs((bytes(20),), block=bytes(32)), tuple), (lambda: client.anchor_head(bytes(20)), bytes),
        (lambda: client.device(bytes(32)), tuple), (lambda: client.keys(bytes(32), 1), list), (client.check, None),
        (lambda: EventReader(client).read([BlockRef(0, bytes(32))]), tuple), (client.gas_price_wei, int),
    ]  # fmt: skip
    for question, kind in questions:
        try:
            answer = question()
        except ChainError:
            continue
        assert kind is None or isinstance(answer, kind), (question, answer)


@pytest.mark.parametrize("size", [1, 23, CLONE_BYTES + 51, CLONE_BYTES + 52, CLONE_BYTES + 53])
def test_strangers_code_at_a_wallets_address_is_read_and_not_run(node: StrangeNode, size: int) -> None:
    deployment = DEPLOYMENT._replace(device_wallet=b"\x06" * 20, wallet_factory=b"\x07" * 20)
    node.say(result="0x" + "5b" * size)
    with ChainClient(node.url, deployment) as client, pytest.raises(BadAnswer, match="no wallet"):
        WalletViews(client).state(b"\x08" * 20, b"\x09" * 32)
    assert {request["method"] for request in node.asked} == {"eth_getCode"}


def test_strangers_erc1271_code_has_a_gas_limit(node: StrangeNode, client: ChainClient) -> None:
    node.say(result="0x" + "5b" * 32)
    assert client.is_valid_signature(b"\x08" * 20, bytes(32), bytes(65)) is False
    assert [request["params"][0]["gas"] for request in node.asked if request["method"] == "eth_call"] == [hex(SIGNATURE_GAS)]
