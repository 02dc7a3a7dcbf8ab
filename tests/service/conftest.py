"""One world for the tests that need a chain; for the others the service's parts in this process, on both databases."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.inside import Inside
from tests.service.postgres import Cluster, find_binaries
from tests.service.world import World, running


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(Path(tmp_path_factory.mktemp("world"))) as made:
        yield made


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    if find_binaries() is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed: apt-get install postgresql")
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    cluster = Cluster()
    yield cluster
    cluster.stop()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs_postgres)])
def new_inside(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Inside]]:
    """Make services in this process with settings of their own; their books are checked at the end."""
    made: list[Inside] = []

    def make(**settings: Any) -> Inside:
        url = "" if request.param == "sqlite" else request.getfixturevalue("postgres").url()
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Inside(folder, url, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def inside(new_inside: Callable[..., Inside]) -> Inside:
    return new_inside()
