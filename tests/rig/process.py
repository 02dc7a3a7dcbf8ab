"""Starting real rig processes for tests, and being rid of them again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wattproof_rig.tell import tell

ROOT = Path(__file__).parents[2]
START_S = 15.0


class Rig:
    """A running rig of one or more points; `point(i)` is the state directory of one."""

    def __init__(self, state: Path, process: subprocess.Popen[str]):
        self.state = state
        self.process = process

    def point(self, number: int = 1) -> Path:
        several = self.state / f"point-{number}"
        return several if several.exists() else self.state

    def tell(self, do: str, number: int = 1, **arguments: Any) -> dict[str, Any]:
        return tell(self.point(number), do, **arguments)

    def stop(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(10)


def start(state: Path, *options: str) -> Rig:
    """Start a rig and wait until it answers; a rig that dies instead raises with what it said."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'hardhat-free-devnet'}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "wattproof_rig", "--state", str(state), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if json.loads((state / "rig.json").read_text())["pid"] == process.pid:
                return Rig(state, process)
        except (OSError, ValueError, KeyError):
            pass
        time.sleep(0.02)
    process.kill()
    said, _ = process.communicate()
    raise RuntimeError(f"the rig did not start: {said}")


@contextmanager
def running(state: Path, *options: str) -> Iterator[Rig]:
    """A rig for the length of a `with`."""
    rig = start(state, *options)
    try:
        yield rig
    finally:
        if rig.process.poll() is None:
            rig.stop()
        if rig.process.stdout:
            rig.process.stdout.close()
