"""One chain and one service for the tests with real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.world import World, running

CREDIT_MILLIWATT_HOURS = 20_000
"""Twenty seconds of the bench's load: a buyer that is killed and started again on a busy machine goes on."""


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    credit = {"payment_credit_micro": 10_000, "payment_credit_milliwatt_hours": CREDIT_MILLIWATT_HOURS}
    with running(Path(tmp_path_factory.mktemp("buyers")), **credit) as made:
        yield made
