"""The wallet and its model agree on every outcome, event, error and balance over random calls, the escrow around them included."""

from __future__ import annotations

import os

import pytest

from tests.contracts.engines import best_engine
from tests.contracts.wallet_calls import WalletCalls

EVERYTHING = {
    *(f"wallet open: {what}" for what in (
        "SessionOpened", "PolicyNotStanding", "DeadlinePassed", "SignatureRefused", "RefundToNotWallet", "SignerNotPayKey",
        "KwhCeilingAbovePolicy", "HourCeilingAbovePolicy", "ProviderNotListed", "ProviderNotRegistered", "WalletFrozen", "PolicyExpired",
        "AboveSessionLimit", "AboveDayLimit", "NotPayer", "SessionIdUsed", "LatestEndRefused",
    )),
    *(f"wallet top up: {what}" for what in (
        "LockRaised", "LockMustRise", "PolicyNotStanding", "SignatureRefused", "SignerNotPayKey", "ProviderNotListed", "WalletFrozen",
        "PolicyExpired", "AboveSessionLimit", "AboveDayLimit", "CloseAlreadyRequested", "SessionIsClosed", "SessionUnknown",
    )),
    *(f"wallet request close: {what}" for what in ("CloseRequested", "SignatureRefused", "CloseAlreadyRequested", "PolicyNotStanding")),
    "wallet policy: PolicySet", "wallet policy: PayKeyRefused", "wallet policy: NotOwner", "wallet policy relayed: PolicySet",
    "wallet policy relayed: NonceRefused", "wallet policy relayed: SignatureRefused", "wallet policy relayed: DeadlinePassed",
    "wallet freeze: Frozen", "wallet unfreeze relayed: Unfrozen", "wallet withdraw: Withdrawn", "wallet withdraw relayed: Withdrawn",
    "claim paid: ChargeClaimed", "claim metered: ChargeClaimed", "close: SessionClosed",
}  # fmt: skip
"""What must have happened at least once in a long run, or it has not looked everywhere."""


def test_short() -> None:
    WalletCalls(best_engine(), seed=1).run(1_200)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_thirty_thousand_calls() -> None:
    engine = best_engine()
    if engine.name != "pyrevm" and not os.environ.get("CI"):
        pytest.skip("pyrevm is not installed, and py-evm takes ten minutes for this")
    pair = WalletCalls(engine, seed=20_261_122)
    pair.run(30_000)
    missing = EVERYTHING - set(pair.counts)
    assert not missing, f"never happened: {sorted(missing)}"
