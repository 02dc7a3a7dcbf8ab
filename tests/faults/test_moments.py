"""Killed at a chosen system call: on entering the n-th sync or send, before its effect. strace injects the signal, not our code."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

import pytest
from wattproof_demo.processes import DemoFailed

from tests.faults.house import House

pytestmark = [pytest.mark.timeout(400), pytest.mark.soak, pytest.mark.needs_strace]


@pytest.fixture(autouse=True)
def strace() -> None:
    if shutil.which("strace") is None:
        if os.environ.get("CI"):
            pytest.fail("strace is not installed: apt-get install strace")
        pytest.skip("strace is not installed (apt-get install strace)")


def killing(call: str, number: int, report: Path) -> tuple[str, ...]:
    """Run a program so that it dies on entering the `number`-th such call of any of its threads."""
    return ("strace", "-f", "-qq", "-o", str(report), "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}")


@pytest.mark.parametrize(
    ("name", "call", "number"),
    [
        ("agent", "fdatasync", 6), ("agent", "fdatasync", 9), ("agent", "pwrite64", 7), ("agent", "sendto", 12),
        ("service", "fdatasync", 20), ("service", "pwrite64", 90), ("service", "sendto", 40),
    ],
)  # fmt: skip
def test_killed_on_entering_a_system_call(house: House, tmp_path: Path, name: str, call: str, number: int) -> None:
    """The program runs under strace from before the session; when it has died it is started again without."""
    house.kill(name)
    with contextlib.suppress(DemoFailed):  # it may die before it is ready
        house.start(name, killing(call, number, tmp_path / "strace"))
    session = None
    deadline = time.monotonic() + 60
    while house.processes.alive(name) and time.monotonic() < deadline:
        if session is None:
            session = house.try_open()
        time.sleep(0.2)
    died = not house.processes.alive(name)
    house.kill(name)
    house.start(name)
    assert died, f"{name} made fewer than {number} calls of {call}"
    house.check(session or house.open())
