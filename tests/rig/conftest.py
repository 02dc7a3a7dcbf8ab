"""One idle rig for the tests that only talk to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.process import running


@pytest.fixture(scope="module")
def rig_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with running(tmp_path_factory.mktemp("rig"), "--profile", "idle") as rig:
        yield rig.state
