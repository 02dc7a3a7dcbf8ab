"""Every hand-made bug is noticed by the test that should notice it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.contracts.mutants import CONTRACT_OF, SCRIPT, load
from tests.contracts.support import ROOT


def test_mutants_fit_the_sources() -> None:
    """Quick, without a compiler: every mutant's text stands once in its source, and there are enough of them."""
    mutants = load()
    assert len(mutants) >= 25
    assert len({mutant.name for mutant in mutants}) == len(mutants)
    assert {mutant.source for mutant in mutants} == set(CONTRACT_OF)
    for mutant in mutants:
        text = (ROOT / "contracts" / "src" / mutant.source).read_text()
        assert text.count(mutant.old) == 1, mutant.name
        assert mutant.old != mutant.new


@pytest.mark.needs_node
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_mutant_is_killed() -> None:
    kill("--brief")


@pytest.mark.needs_node
@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_every_mutant_of_the_long_list_is_killed() -> None:
    kill()


def kill(*arguments: str) -> None:
    ready = shutil.which("node") is not None and (SCRIPT.NODE_MODULES / "solc").is_dir()
    if not ready and not os.environ.get("CI"):
        pytest.skip("Node.js and contracts/node_modules are needed: scripts/contracts build installs the packages")
    done = subprocess.run(
        [sys.executable, "-m", "tests.contracts.mutants", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
