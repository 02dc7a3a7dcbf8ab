"""Real chains in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


class DevChain:
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
        self.url: str = self.description["url"]

    def key(self, index: int) -> bytes:
        return bytes.fromhex(self.description["accounts"][index]["key"][2:])

    def address(self, index: int) -> bytes:
        return bytes.fromhex(self.description["accounts"][index]["address"][2:])

    def stop(self, number: int = signal.SIGTERM) -> str:
        """End it by a signal; returns what it printed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=20)
        return output


@pytest.fixture
def devchain(tmp_path: Path) -> Iterator[Callable[..., DevChain]]:
    """Start chains: `devchain("--block-time", "1", state=folder)`."""
    started: list[DevChain] = []

    def start(*options: str, state: Path | None = None) -> DevChain:
        started.append(DevChain(state or tmp_path / "chain", *options))
        return started[-1]

    yield start
    for each in started:
        each.stop(signal.SIGKILL if each.process.poll() is None else signal.SIGTERM)


def in_ci() -> bool:
    return bool(os.environ.get("CI"))
