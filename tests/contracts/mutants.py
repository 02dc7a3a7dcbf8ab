"""Hand-made bugs in the contracts, each of which the tests must notice: mutants.toml, and what runs them.

    python -m tests.contracts.mutants             all of them; prints those that live, exits 1 if any does
    python -m tests.contracts.mutants close key   only those with one of the words in their name
    python -m tests.contracts.mutants --brief     all but those marked `soak`, which say little that others do not

A mutant is one replacement in one source. It is compiled by the quick pipeline (gas is not tested here) and put in the
place of the shipped artifact; then the test that must notice it is run. The unchanged sources go through the same
first, so that a failure means the mutant.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
ARTIFACTS = ROOT / "chain" / "artifacts"
QUICK: dict[str, Any] = {"evmVersion": "paris", "viaIR": False, "optimizer": {"enabled": False}}
SMALL = {"enabled": True, "runs": 1, "details": {"yul": False}}
"""Twice as slow, for contracts that no chain takes unoptimized (EIP-170)."""
OPTIMIZER_OF = {"TaskEscrow": SMALL}
PASSED, FAILED = 0, 1  # pytest's exit codes
CONTRACT_OF = {
    "AnchorLog.sol": "AnchorLog",
    "EvidenceTypes.sol": "AnchorLog",
    "HashChain.sol": "AnchorLog",
    "DeviceRegistry.sol": "DeviceRegistry",
    "SettlementToken.sol": "SettlementToken",
    "EnergyEscrow.sol": "EnergyEscrow",
    "FreeBalances.sol": "EnergyEscrow",
    "ClaimRules.sol": "EnergyEscrow",
    "MoneyTypes.sol": "EnergyEscrow",
    "Session.sol": "EnergyEscrow",
    "DeviceWallet.sol": "DeviceWallet",
    "WalletTypes.sol": "DeviceWallet",
    "DeviceWalletFactory.sol": "DeviceWalletFactory",
    "ProviderBook.sol": "ProviderBook",
    "TaskEscrow.sol": "TaskEscrow",
    "TaskTypes.sol": "TaskEscrow",
    "EnergyProof.sol": "TaskEscrow",
}


class Mutant(NamedTuple):
    """`old` stands once in contracts/src/`source` and becomes `new`; `killed_by` is the pytest that must fail."""

    name: str
    source: str
    killed_by: str
    old: str
    new: str
    soak: bool = False


class Job(NamedTuple):
    """One build and the tests to run on it; without a mutant, the unchanged contract."""

    name: str
    contract: str
    mutant: Mutant | None
    tests: tuple[str, ...]


def load() -> list[Mutant]:
    return [Mutant(**item) for item in tomllib.loads((HERE / "mutants.toml").read_text())["mutant"]]


def jobs_for(mutants: list[Mutant]) -> list[Job]:
    """The unchanged contracts first, with every test that is to kill a mutant of theirs."""
    tests: dict[str, set[str]] = {}
    for mutant in mutants:
        tests.setdefault(CONTRACT_OF[mutant.source], set()).add(mutant.killed_by)
    unchanged = [Job(f"unchanged {name}", name, None, tuple(sorted(tests[name]))) for name in sorted(tests)]
    return unchanged + [Job(m.name, CONTRACT_OF[m.source], m, (m.killed_by,)) for m in mutants]


def contracts_script() -> ModuleType:
    """scripts/contracts as a module: it knows where sources are and how they are compiled."""
    loader = importlib.machinery.SourceFileLoader("contracts_script", str(ROOT / "scripts" / "contracts"))
    spec = importlib.util.spec_from_loader("contracts_script", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


SCRIPT = contracts_script()
SOLC = SCRIPT.CONTRACTS / "solc"  # main() puts the native compiler here where there is one


def build(job: Job, target: Path) -> None:
    """Writes artifacts to `target` as shipped, but the job's contract freshly compiled with the mutant in it."""
    import solcx

    source = f"src/{job.contract}.sol"
    sources: dict[str, str] = SCRIPT.source_closure([source])
    if job.mutant is not None:
        name = f"src/{job.mutant.source}"
        found = sources[name].count(job.mutant.old)
        if found != 1:
            raise ValueError(f"{job.name!r}: its text stands {found} times in {job.mutant.source}, not once")
        sources[name] = sources[name].replace(job.mutant.old, job.mutant.new)
    task = {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in sources.items()},
        "settings": {
            **QUICK,
            "optimizer": OPTIMIZER_OF.get(job.contract, QUICK["optimizer"]),
            "outputSelection": {source: {job.contract: SCRIPT.OUTPUTS}},
        },
    }
    compiled = solcx.compile_standard(task, solc_binary=SOLC)
    shutil.copytree(ARTIFACTS, target)
    made = SCRIPT.artifact(job.contract, SCRIPT.CONTRACTS / "src", sources, compiled["contracts"])
    (target / f"{job.contract}.json").write_text(json.dumps(made))


def run(job: Job) -> tuple[Job, int]:
    """The job and pytest's exit code for its tests."""
    import pytest

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "artifacts"
        build(job, target)
        os.environ["WATTPROOF_TEST_ARTIFACTS"] = str(target)  # read when the tests' support module is imported
        tests = [str(HERE / test) for test in job.tests]
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            return job, int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]))


def main(words: list[str]) -> int:
    global SOLC
    import eth_tester  # noqa: F401  imported once here, not once in every child
    import web3  # noqa: F401

    SCRIPT.install_packages()
    SOLC = SCRIPT.compiler() or SOLC
    brief = words == ["--brief"]
    mutants = [m for m in load() if (not m.soak if brief else not words or any(word in m.name for word in words))]
    lives, broken = [], []
    # a fresh child for each job: where the artifacts are is read once a process
    with multiprocessing.get_context("fork").Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        for job, code in pool.imap_unordered(run, jobs_for(mutants), chunksize=1):
            if job.mutant is None and code != PASSED:
                broken.append(f"{job.name}: its tests do not pass (pytest exit code {code})")
            elif job.mutant is not None and code != FAILED:
                lives.append(f"{job.name!r} lives: {job.mutant.killed_by} ends with pytest's exit code {code}")
    print("\n".join(broken + lives))
    print(f"{len(mutants) - len(lives)} of {len(mutants)} mutants killed")
    return 1 if broken or lives else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
