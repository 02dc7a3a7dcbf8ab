"""A rig with an RS-485 kind of meter (opening at 9600 baud, so that tests need not wait for 300)."""

from collections.abc import Iterator

import pytest

from meter_agent.line import Meter, Relay, open_meter, open_relay
from meter_agent.line import meter as meter_module
from tests.rig.process import Rig, running


@pytest.fixture(scope="module")
def module_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    state = tmp_path_factory.mktemp("rig")
    with running(state, "--profile", "steady", "--step", "1", "--initial-baud", "9600") as rig:
        yield rig


@pytest.fixture
def rig(module_rig: Rig) -> Iterator[Rig]:
    """The module's rig, whole again after each test."""
    yield module_rig
    module_rig.tell("clear")


@pytest.fixture
def meter(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Meter]:
    # The rig answers within 0.1 s; only tests of meters that do not need the standard's whole 1.5 s of patience.
    monkeypatch.setattr(meter_module, "REACTION_MAX_S", 0.5)
    meter = open_meter(str(rig.point() / "meter"), initial_baud=9600)
    yield meter
    meter.close()


@pytest.fixture
def relay(rig: Rig) -> Iterator[Relay]:
    relay = open_relay(str(rig.point() / "relay"))
    yield relay
    rig.tell("clear")
    relay.open()
    relay.hang_up()
