"""The contract and the plain model agree on every outcome, event, error and balance over random calls.

`test_short` runs in every test run; `test_a_hundred_thousand_calls` where pyrevm is installed (requirements.lock).
"""

from __future__ import annotations

import os

import pytest
from eth_abi import abi

from tests.contracts.engines import PyEvmEngine, best_engine
from tests.contracts.model_calls import METERED_ROW, RandomCalls
from tests.contracts.model_pair import TERMS_TYPE, Blob, encode

EVERYTHING = {
    "deposit: Deposited", "deposit: ERC20InsufficientBalance", "withdraw: Withdrawn", "withdraw: BalanceTooLow",
    "withdraw by signature: Withdrawn", "withdraw by signature: NonceRefused", "withdraw by signature: DeadlinePassed",
    "withdraw by signature: SignatureRefused", "open: SessionOpened", "open by signature: SessionOpened",
    "open: RefundToRefused", "open: LatestEndRefused", "open: SessionIdUsed", "open: BalanceTooLow",
    "open by signature: SignatureRefused", "top up: LockRaised", "top up: LockMustRise", "top up: CloseAlreadyRequested",
    "top up by signature: LockRaised", "request close: CloseRequested", "request close: MayNotRequestClose",
    "request close by signature: CloseRequested", "request close by signature: SignatureRefused",
    "close: SessionClosed", "close: CloseNotDue", "close: SessionIsClosed", "credit note: CreditNoteGiven",
    "credit note: NotPayee", "claim paid: ChargeClaimed", "claim metered: ChargeClaimed", "guard: NotGuardian",
    *(f"claim paid: ClaimSkipped{reason}" for reason in (1, 2, 3, 4, 8)),
    *(f"claim metered: ClaimSkipped{reason}" for reason in range(1, 9)),
}  # fmt: skip
"""What must have happened at least once in a long run, or it has not looked everywhere."""


def test_short() -> None:
    RandomCalls(best_engine(), seed=1).run(1_500)


def test_py_evm_agrees_too() -> None:
    """The same on the engine that every installation has, and that pyrevm may not quietly differ from."""
    RandomCalls(PyEvmEngine(), seed=2).run(150)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_thousand_calls() -> None:
    engine = best_engine()
    if engine.name != "pyrevm" and not os.environ.get("CI"):
        pytest.skip("pyrevm is not installed, and py-evm takes half an hour for this")
    pair = RandomCalls(engine, seed=20_261_122)
    pair.run(100_000)
    missing = EVERYTHING - set(pair.counts)
    assert not missing, f"never happened: {sorted(missing)}"


def test_the_quick_encoder_is_the_usual_one() -> None:
    pair = RandomCalls(PyEvmEngine(), seed=3)
    _, terms = pair.pick()
    session = pair.name(terms)
    for signature in (b"", b"s" * 65):
        wanted = abi.encode([TERMS_TYPE, "uint64", "bytes"], [terms, 7, signature])
        assert encode([terms, 7, Blob(signature)]) == wanted
    rows = [pair.metered_row(session)[1] for _ in range(3)]
    assert encode([terms.payee, rows]) == abi.encode(["address", f"{METERED_ROW}[]"], [terms.payee, rows])
