"""Real nodes in processes of their own: our development chain, and anvil."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chain.keyfile import dev_secret
from protocol.keys import Signer

ROOT = Path(__file__).resolve().parents[2]


class Node:
    """A running node. `ask` is raw JSON-RPC, for what the client under test must not be used for."""

    process: subprocess.Popen[str]
    url: str

    def key(self, index: int) -> bytes:
        return dev_secret(index)

    def address(self, index: int) -> bytes:
        return Signer(dev_secret(index)).address

    def ask(self, method: str, *params: Any) -> Any:
        with closing(http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=20)) as connection:
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.ask("evm_mine")

    def head(self) -> int:
        return int(self.ask("eth_blockNumber"), 16)

    def stop(self, number: int = signal.SIGTERM) -> str:
        """End it by a signal; returns what it printed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=20)
        return output or ""


class DevChain(Node):
    """A `python -m wattproof_devchain` process, and the file it writes about itself."""

    def __init__(self, state: Path, *options: str) -> None:
        self.state = state
        description = state / "devchain.json"
        description.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "wattproof_devchain", "--state", str(state), "--port", "0", *options],
            cwd=ROOT / "hardhat-free-devnet", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while not description.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the chain did not start: {self.stop()}")
            time.sleep(0.02)
        self.description: dict[str, Any] = json.loads(description.read_text())
        self.url = self.description["url"]


class Anvil(Node):
    """foundry's anvil, mining as transactions come unless told otherwise."""

    def __init__(self, program: str, *options: str) -> None:
        self.process = subprocess.Popen(
            [program, "--port", "0", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            listening = re.match(r"Listening on (\S+)", line)
            if listening:
                self.url = f"http://{listening[1]}"
                return
        raise AssertionError(f"anvil did not start (exit code {self.process.wait()})")

    def reorganise(self, depth: int) -> None:
        """Replace the newest `depth` blocks by as many empty ones."""
        self.ask("anvil_reorg", depth, [])


def find_anvil() -> str | None:
    """anvil by environment, by the project's npm packages (the binary itself, not npm's wrapper script), or on the PATH."""
    packaged = sorted((ROOT / "contracts" / "node_modules" / "@foundry-rs").glob("anvil-*/bin/anvil"))
    return os.environ.get("WATTPROOF_ANVIL") or (str(packaged[0]) if packaged else None) or shutil.which("anvil")
