"""The events of our contracts as typed values. Names follow the Solidity events; `from` is `sender`.

Addresses and hashes are `bytes`, money is micro-units of the settlement token, energy milliwatt-hours, time UTC seconds.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Anchored(NamedTuple):
    """`head` = keccak(head before ‖ root ‖ block time as uint64)."""

    anchorer: bytes
    root: bytes
    head: bytes


class DeviceEnrolled(NamedTuple):
    device: bytes
    owner: bytes
    operator: bytes


class DeviceStatusChanged(NamedTuple):
    device: bytes
    status: int


class OwnerChanged(NamedTuple):
    device: bytes
    old_owner: bytes
    new_owner: bytes


class OperatorChanged(NamedTuple):
    device: bytes
    old_operator: bytes
    new_operator: bytes


class ChannelChanged(NamedTuple):
    device: bytes
    channel: int
    rated_watts: int
    enabled: bool


class KeyChanged(NamedTuple):
    """`old_key` zero: a first key, or one after a revocation. `new_key` zero: a revocation."""

    device: bytes
    role: int
    old_key: bytes
    new_key: bytes
    last_frame: bytes
    head: bytes


class SessionOpened(NamedTuple):
    session: bytes
    payer: bytes
    payee: bytes
    lock_micro: int


class LockRaised(NamedTuple):
    session: bytes
    total_lock_micro: int


class ChargeClaimed(NamedTuple):
    """`amount_micro` is cumulative; the payee was credited the difference."""

    session: bytes
    payee: bytes
    amount_micro: int
    frame: bytes


class ClaimSkipped(NamedTuple):
    """`refusal` as in `ClaimRules.Refusal`; `value` missed `bound`."""

    session: bytes
    refusal: int
    value: int
    bound: int


class CloseRequested(NamedTuple):
    session: bytes
    sender: bytes


class SessionClosed(NamedTuple):
    session: bytes
    claimed_micro: int
    returned_micro: int


class CreditNoteGiven(NamedTuple):
    session: bytes
    payee: bytes
    refund_to: bytes
    amount_micro: int


class Deposited(NamedTuple):
    account: bytes
    sender: bytes
    amount_micro: int


class Withdrawn(NamedTuple):
    account: bytes
    to: bytes
    amount_micro: int


class NewBusinessStopped(NamedTuple):
    guardian: bytes


class NewBusinessResumed(NamedTuple):
    guardian: bytes


class TaskOpened(NamedTuple):
    task: bytes
    requester: bytes
    node: bytes
    price_micro: int


class TaskPaid(NamedTuple):
    """`amount_micro` is cumulative; the node was credited the difference."""

    task: bytes
    node: bytes
    amount_micro: int
    result: bytes


class EnergySold(NamedTuple):
    """The stretch of the meter's import register that this task paid for."""

    task: bytes
    meter_key: bytes
    from_milliwatt_hours: int
    through_milliwatt_hours: int


class TaskCloseRequested(NamedTuple):
    task: bytes
    sender: bytes
    ends_at_s: int


class TaskClosed(NamedTuple):
    task: bytes
    paid_micro: int
    returned_micro: int


class Minted(NamedTuple):
    receipt_id: bytes
    to: bytes
    amount_micro: int


class PaidOut(NamedTuple):
    payout_id: bytes
    sender: bytes
    amount_micro: int


class Transfer(NamedTuple):
    """Every movement of the token; from or to zero where it is minted or burned."""

    sender: bytes
    to: bytes
    value: int


class ProviderAdmitted(NamedTuple):
    provider: bytes


class ProviderDismissed(NamedTuple):
    provider: bytes


class OfferPublished(NamedTuple):
    provider: bytes
    offer_hash: bytes
    number: int
    valid_from_s: int
    valid_until_s: int


class OfferWithdrawn(NamedTuple):
    provider: bytes
    offer_hash: bytes


class WalletCreated(NamedTuple):
    wallet: bytes
    device: bytes
    owner: bytes


class PolicySet(NamedTuple):
    """`wallet` is who said so. `policy` has the fields of `protocol.wallet.Policy`, in its order."""

    wallet: bytes
    policy_hash: bytes
    pay_key: bytes
    policy: tuple[Any, ...]


class Frozen(NamedTuple):
    wallet: bytes


class Unfrozen(NamedTuple):
    wallet: bytes


Body = (
    Anchored
    | DeviceEnrolled | DeviceStatusChanged | OwnerChanged | OperatorChanged | ChannelChanged | KeyChanged
    | SessionOpened | LockRaised | ChargeClaimed | ClaimSkipped | CloseRequested | SessionClosed | CreditNoteGiven
    | Deposited | Withdrawn | NewBusinessStopped | NewBusinessResumed
    | TaskOpened | TaskPaid | EnergySold | TaskCloseRequested | TaskClosed
    | Minted | PaidOut | Transfer
    | ProviderAdmitted | ProviderDismissed | OfferPublished | OfferWithdrawn | WalletCreated
    | PolicySet | Frozen | Unfrozen
)  # fmt: skip


def _named(*kinds: Any) -> dict[str, Any]:
    return {kind.__name__: kind for kind in kinds}


CONTRACTS: dict[str, dict[str, Any]] = {
    "AnchorLog": _named(Anchored),
    "DeviceRegistry": _named(DeviceEnrolled, DeviceStatusChanged, OwnerChanged, OperatorChanged, ChannelChanged, KeyChanged),
    "EnergyEscrow": _named(
        SessionOpened, LockRaised, ChargeClaimed, ClaimSkipped, CloseRequested, SessionClosed, CreditNoteGiven,
        Deposited, Withdrawn, NewBusinessStopped, NewBusinessResumed,
    ),
    # Not its deposits and withdrawals: those types mean the energy escrow's balances, which the books are kept of.
    "TaskEscrow": _named(TaskOpened, TaskPaid, EnergySold, TaskCloseRequested, TaskClosed),
    "SettlementToken": _named(Minted, PaidOut, Transfer),
    "ProviderBook": _named(ProviderAdmitted, ProviderDismissed, OfferPublished, OfferWithdrawn),
    "DeviceWalletFactory": _named(WalletCreated),
}  # fmt: skip
"""Contract → event name → type."""
WALLET: dict[str, Any] = _named(PolicySet, Frozen, Unfrozen)
"""What every device's wallet says, at its own address. Anybody can emit logs that look so: only those of the factory's wallets count."""
