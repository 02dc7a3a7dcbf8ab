"""The JavaScript reference itself: it still gives its committed answers, and agrees on fresh random sessions."""

from __future__ import annotations

import json
import os
import secrets
import shutil

import pytest

from tests.vectors import answers
from tests.vectors.random_sessions import answer_of

FRESH_SESSIONS = 100

pytestmark = pytest.mark.needs_node


@pytest.fixture(autouse=True, scope="module")
def _node() -> None:
    missing = ""
    if shutil.which("node") is None:
        missing = "Node.js is not installed"
    elif not (answers.REFERENCE.parent / "node_modules").exists():
        missing = "run `npm install` in tests/reference"
    if missing and os.environ.get("CI"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)


def test_the_committed_answers_are_the_references() -> None:
    for name, content in answers.files().items():
        assert (answers.FOLDER / name).read_bytes() == content, f"{name}: run python -m tests.vectors.answers and look at the difference"


def test_fresh_random_sessions() -> None:
    seeds = [secrets.randbelow(1 << 53) for _ in range(FRESH_SESSIONS)]
    for answer in json.loads(answers.sessions(seeds))["vectors"]:
        assert answer == answer_of(answer["seed"]), f"session {answer['seed']}"
