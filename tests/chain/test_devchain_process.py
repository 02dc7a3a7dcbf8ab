"""The development chain as a process: killed, restarted, called badly, called by many."""

import http.client
import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from eth_account import Account

from .nodes import ROOT, DevChain

Start = Callable[..., DevChain]


def connect(chain: DevChain) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(chain.url).netloc, timeout=20)


def post(connection: http.client.HTTPConnection, document: Any) -> Any:
    connection.request("POST", "/", json.dumps(document), {"Content-Type": "application/json"})
    return json.loads(connection.getresponse().read())


def ask(chain: DevChain, method: str, *params: Any) -> Any:
    with closing(connect(chain)) as connection:
        answer = post(connection, {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})
    assert "error" not in answer, answer
    return answer["result"]


def transfer(chain: DevChain, nonce: int, sender: int = 0) -> str:
    transaction = {
        "chainId": 31337, "nonce": nonce, "gas": 21_000, "value": 1, "to": chain.address(9), "gasPrice": 10**10,
    }  # fmt: skip
    return "0x" + Account.sign_transaction(transaction, chain.key(sender)).raw_transaction.hex()


def hashes(chain: DevChain) -> list[str]:
    head = int(ask(chain, "eth_blockNumber"), 16)
    return [ask(chain, "eth_getBlockByNumber", hex(number), False)["hash"] for number in range(head + 1)]


def write_blocks(chain: DevChain, nonce: int, seen: list[dict[str, Any]]) -> None:
    """Send, mine, note the head, until the chain is gone."""
    with closing(connect(chain)) as connection:
        try:
            for offset in range(10_000):
                for method, params in (
                    ("eth_sendRawTransaction", [transfer(chain, nonce + offset)]),
                    ("evm_mine", []),
                    ("eth_getBlockByNumber", ["latest", False]),
                ):
                    answer = post(connection, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
                seen.append(answer["result"])
        except (OSError, http.client.HTTPException, ValueError):
            return


def test_kill_9_at_any_moment_loses_no_block_that_was_seen(devchain: Start, tmp_path: Path) -> None:
    seen: list[str] = []
    chooser = random.Random(1)
    for _ in range(4):
        chain = devchain("--block-time", "3600", state=tmp_path / "chain")
        known = hashes(chain)
        assert known[: len(seen)] == seen
        nonce = int(ask(chain, "eth_getTransactionCount", "0x" + chain.address(0).hex(), "latest"), 16)
        blocks: list[dict[str, Any]] = []
        writer = threading.Thread(target=write_blocks, args=(chain, nonce, blocks))
        writer.start()
        time.sleep(0.3 + chooser.random() * 0.4)
        os.kill(chain.process.pid, signal.SIGKILL)
        writer.join(20)
        chain.stop()
        assert blocks
        seen = known + [block["hash"] for block in blocks if int(block["number"], 16) >= len(known)]
    chain = devchain(state=tmp_path / "chain")
    assert hashes(chain)[: len(seen)] == seen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_at_once_with_clients_connected(devchain: Start, number: int) -> None:
    chain = devchain()
    clients = [connect(chain) for _ in range(5)]
    for client in clients:
        post(client, {"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber"})
    began = time.monotonic()
    output = chain.stop(number)
    for client in clients:
        client.close()
    assert time.monotonic() - began < 2
    assert chain.process.returncode == 0
    assert "Traceback" not in output
    assert "goes on from here" in output


def test_blocks_carry_the_wall_clock(devchain: Start) -> None:
    chain = devchain("--block-time", "1")
    for nonce in range(30):
        ask(chain, "eth_sendRawTransaction", transfer(chain, nonce))
    deadline = time.monotonic() + 15
    while int(ask(chain, "eth_blockNumber"), 16) < 4 and time.monotonic() < deadline:
        head = ask(chain, "eth_getBlockByNumber", "latest", False)
        assert int(head["timestamp"], 16) <= time.time()
        time.sleep(0.05)
    head = ask(chain, "eth_getBlockByNumber", "latest", False)
    assert time.time() - int(head["timestamp"], 16) < 2.5
    counts = [len(ask(chain, "eth_getBlockByNumber", hex(n), False)["transactions"]) for n in range(4)]
    assert sum(counts) == 30
    assert max(counts) >= 10


def test_many_clients_keep_their_connections(devchain: Start) -> None:
    chain = devchain()
    wrong: list[str] = []

    def client() -> None:
        with closing(connect(chain)) as connection:
            for identity in range(20):
                batch = [{"jsonrpc": "2.0", "id": i, "method": "eth_chainId"} for i in (identity, identity + 1)]
                answers = post(connection, batch)
                if [each["id"] for each in answers] != [identity, identity + 1]:
                    wrong.append(str(answers))

    threads = [threading.Thread(target=client) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def raw_http(chain: DevChain, head: str, body: bytes = b"") -> bytes:
    where = urlsplit(chain.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as line:
        line.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        line.shutdown(socket.SHUT_WR)
        parts = []
        while part := line.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    ("head", "body", "status"),
    [
        ("GET / HTTP/1.1\nHost: 127.0.0.1:1", b"", b" 405 "),
        ("POST / HTTP/1.1\nHost: evil.example:80\nContent-Length: 2\nContent-Type: application/json", b"{}", b" 403 "),
        ("POST / HTTP/1.1\nHost: localhost:1\nContent-Length: 2\nContent-Type: text/plain", b"{}", b" 415 "),
        ("POST / HTTP/1.1\nHost: localhost:1\nContent-Length: 999999999\nContent-Type: application/json", b"", b" 413 "),
        ("POST / HTTP/1.1\nHost: localhost:1\nContent-Type: application/json", b"", b" 411 "),
        ("POST / HTTP/1.1\nHost: localhost:1\nContent-Length: 3\nContent-Type: application/json", b"{]}", b"-32700"),
        (
            "POST / HTTP/1.1\nHost: localhost:1\nContent-Length: 200000\nContent-Type: application/json",
            b"[" * 200_000, b"-32700",
        ),
    ],
)  # fmt: skip
def test_bad_http_gets_an_answer(devchain: Start, head: str, body: bytes, status: bytes) -> None:
    chain = devchain()
    assert status in raw_http(chain, head, body)
    raw_http(chain, "POST / HTTP/1.1\nHost: localhost:1\nContent-Length: 50\nContent-Type: application/json", b"{")
    assert ask(chain, "eth_chainId") == "0x7a69"
    assert "Traceback" not in chain.stop()


def test_what_it_writes_about_itself_is_private(devchain: Start) -> None:
    chain = devchain("--accounts", "3")
    path = chain.state / "devchain.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(chain.description["accounts"]) == 3
    output = chain.stop()
    assert chain.description["accounts"][2]["key"] in output
    assert chain.url in output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "loopback only"),
        (["--accounts", "3"], "made with 2 accounts"),
        (["--port", "TAKEN"], "cannot listen"),
    ],
)
def test_mistakes_get_a_sentence(devchain: Start, tmp_path: Path, options: list[str], words: str) -> None:
    state = tmp_path / "chain"
    devchain("--accounts", "2", state=state).stop()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = [str(taken.getsockname()[1]) if each == "TAKEN" else each for each in options]
        done = subprocess.run(
            [sys.executable, "-m", "wattproof_devchain", "--state", str(state), "--port", "0", *options],
            cwd=ROOT / "hardhat-free-devnet", capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
