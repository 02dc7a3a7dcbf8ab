"""Gas and sizes are what the snapshot says, and within the goals."""

from __future__ import annotations

import json

from tests.contracts.gas import GOALS, SNAPSHOT, measure

MAX_CODE_BYTES = 24_576  # EIP-170


def test_gas_and_sizes_are_those_of_the_snapshot() -> None:
    measured, kept = measure(), json.loads(SNAPSHOT.read_text())
    assert measured == kept, "if the change is meant: python -m tests.contracts.gas"
    for name, goal in GOALS.items():
        assert kept["gas"][name] <= goal, f"{name} costs {kept['gas'][name]}, the goal is {goal}"
    assert max(kept["bytes"].values()) <= MAX_CODE_BYTES
