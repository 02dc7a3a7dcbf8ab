"""Child processes of the demo: each with a log file, waited for until ready, and stopped in reverse order whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOG_TAIL_LINES = 15
RUN_TIMEOUT_S = 120


class DemoFailed(Exception):
    """Something the demo claims is not so, or a program did not come up. The message is for people."""


def free_port() -> int:
    """A loopback port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Processes:
    """Starts programs of this repository and stops them all; use as a context manager."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        # a second Ctrl-C must not leave half of them running
        kept = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        for name in reversed(list(self._running)):
            self.stop(name)
        for number, handler in kept.items():
            signal.signal(number, handler)

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def start(self, name: str, *module_and_arguments: str, wrap: tuple[str, ...] = ()) -> None:
        """Start `python -m module …` with its output in `<name>.log`, in a session of its own so that Ctrl-C reaches only us.

        `wrap`: a program and its options to run it under (strace …).
        """
        with self.log(name).open("ab") as output:
            self._running[name] = subprocess.Popen(
                [*wrap, sys.executable, "-u", "-m", *module_and_arguments],
                stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT, start_new_session=True,
                env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'hardhat-free-devnet'}"},
            )  # fmt: skip

    def run(self, *module_and_arguments: str, accept: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        """Run `python -m module …` to its end and return it; another exit code than those accepted fails the demo."""
        try:
            done = subprocess.run(
                [sys.executable, "-m", *module_and_arguments], cwd=ROOT, capture_output=True, text=True, check=False,
                timeout=RUN_TIMEOUT_S, env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'hardhat-free-devnet'}"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"`{' '.join(module_and_arguments)}` did not end within {RUN_TIMEOUT_S} s") from None
        if done.returncode not in accept:
            raise DemoFailed(f"`{' '.join(module_and_arguments)}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def alive(self, name: str) -> bool:
        return self._running[name].poll() is None

    def stop(self, name: str, *, kill: bool = False) -> None:
        """End one program: SIGTERM, then SIGKILL after ten seconds (`kill=True`: SIGKILL at once)."""
        process = self._running.pop(name)
        if process.poll() is None:
            if kill:
                os.killpg(process.pid, signal.SIGKILL)  # with whatever it runs under
            else:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def wait(self, name: str, what: str, ready: Callable[[], bool], timeout_s: float = 30) -> None:
        """Wait until `ready()`; the program's last words if it ended or the time is over."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self.alive(name):
                raise DemoFailed(f"{name} ended before {what}. Its last words ({self.log(name)}):\n{self.tail(name)}")
            if ready():
                return
            time.sleep(0.1)
        raise DemoFailed(f"{name}: no {what} within {timeout_s:.0f} s. Its last words ({self.log(name)}):\n{self.tail(name)}")

    def tail(self, name: str) -> str:
        path = self.log(name)
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return "\n".join(lines[-LOG_TAIL_LINES:])
