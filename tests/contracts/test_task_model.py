"""TaskEscrow and its model agree on every outcome, event, error and balance over random calls; so does the pure check of energy proofs."""

from __future__ import annotations

import os

import pytest

from tests.contracts.engines import PyEvmEngine, best_engine
from tests.contracts.task_pair import TaskPair

EVERYTHING = {
    "deposit: Deposited", "withdraw: Withdrawn", "withdraw: BalanceTooLow", "guard: NotGuardian",
    "open: TaskOpened", "open: NotRequester", "open: BalanceTooLow", "open: TaskIdUsed", "open: NewBusinessIsStopped",
    *(f"open: {name}" for name in (
        "NodeZero", "RefundToRefused", "RequesterKeyZero", "PriceZero", "DeadlineRefused", "ProofGraceRefused", "StartFromRefused",
        "ProofKindRefused", "MembersRefused", "KeyShared",
    )),
    "open as requester: TaskOpened", "open as requester: RefundToRefused", "open as requester: LockNotPrice",
    "open by signature: TaskOpened", "open by signature: SignatureRefused", "open by signature: DeadlinePassed",
    *(f"{call}: {outcome}" for call in ("release", "complete", "deliver") for outcome in (
        "TaskPaid", "SignatureRefused", "TaskUnknown", "TaskIsClosed", "OtherProofAgreed",
    )),
    "release: NothingNew", "release: AbovePrice", "complete: NothingNew", "complete: AbovePrice", "deliver: EnergySold",
    *(f"deliver: {name}" for name in (
        "EnergyAlreadySold", "AmountBeyondEnergy", "NothingNew", "PointRefused", "RecordNotInFrame", "RecordFlagged",
        "MeterSignatureRefused", "MeterDiffers", "RecordsOutOfOrder", "RegisterFell", "StartTooEarly", "EndTooLate",
    )),
    "request: TaskCloseRequested", "request: MayNotRequestClose", "request: EndsAlready",
    "request by signature: TaskCloseRequested", "request by signature: SignatureRefused",
    "close: TaskClosed", "close: CloseNotDue", "close: TaskIsClosed", "give up: TaskClosed", "give up: SignatureRefused",
}  # fmt: skip
"""What must have happened at least once in a long run, or it has not looked everywhere."""


def test_short() -> None:
    TaskPair(best_engine(), seed=1).run(800)


def test_py_evm_agrees_too() -> None:
    TaskPair(PyEvmEngine(), seed=2).run(100)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_six_thousand_calls() -> None:
    engine = best_engine()
    if engine.name != "pyrevm" and not os.environ.get("CI"):
        pytest.skip("pyrevm is not installed, and py-evm takes long for this")
    pair = TaskPair(engine, seed=20_261_122)
    pair.run(6_000)
    missing = EVERYTHING - set(pair.counts)
    assert not missing, f"never happened: {sorted(missing)}"


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_hundred_thousand_calls() -> None:
    TaskPair(best_engine(), seed=3).run(200_000)
