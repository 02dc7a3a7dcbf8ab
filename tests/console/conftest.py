"""One house with two operators for all tests here; tests that change it make what they change themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.house import Holding, House, furnish


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(Path(tmp_path_factory.mktemp("house")))
    yield made
    made.close()


@pytest.fixture(scope="session")
def first(house: House) -> Iterator[Holding]:
    holding = furnish(house, 1)
    yield holding
    holding.agent.close()


@pytest.fixture(scope="session")
def second(house: House, first: Holding) -> Iterator[Holding]:
    holding = furnish(house, house.operator("Second & Sons"))
    yield holding
    holding.agent.close()
