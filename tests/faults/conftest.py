"""One house for all tests of faults: starting one takes half a minute, and it must survive them all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from wattproof_demo.processes import Processes
from wattproof_demo.stack import Choices, Stack

from tests.faults.house import House


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    state = Path(tmp_path_factory.mktemp("house"))
    with Processes(state / "logs") as processes:
        stack = Stack(processes, state, Choices(epoch_s=3, profile="full"))  # a load without end: a car would be full after ten sessions
        stack.init_service()
        stack.start_chain()
        stack.deploy()
        stack.start_service()
        stack.start_rig()
        stack.enrol()
        stack.start_agent()
        stack.deposit()
        yield House(stack)
        stack.client.close()
