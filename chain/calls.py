"""Every contract call the product makes, encoded from the structs that were signed. Pure: no network.

A `Call` is what an outbox intent keeps. All of them can be sent again without harm: amounts are cumulative or absolute,
sessions and receipts are used once, an anchor names the head it extends; a second sending reverts or changes nothing.
The exceptions (plain `deposit`, `withdraw`, `transfer`, `credit_note`, `pay_out`) rely on the outbox alone and say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chain.abi import interface
from chain.deployment import Deployment
from protocol.control import KeyBinding, KeyRotation
from protocol.evidence import Frame
from protocol.hashing import keccak
from protocol.money import MeteredCharge, Open, Payment, RequestClose, Terms, TopUp, Withdraw

OPERATOR_ROLE = keccak(b"OPERATOR_ROLE")
"""As in DeviceRegistry."""
MAX_CLAIMS = 100
"""Rows in one claim: at about 20,000 gas a row this stays far below any block limit in use."""


class Call(NamedTuple):
    """A transaction's content. `what` names it for people: `EnergyEscrow.close`."""

    to: bytes
    data: bytes
    what: str


class PaidRow(NamedTuple):
    """A payment with the terms it is under and the pay key's 65-byte signature."""

    payment: Payment
    terms: Terms
    signature: bytes


class MeteredRow(NamedTuple):
    """A metered charge with the terms it is under and the charge key's 65-byte signature."""

    charge: MeteredCharge
    terms: Terms
    signature: bytes


class Calls:
    """Calls to the contracts of one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def _call(self, contract: str, function: str, *arguments: object) -> Call:
        data = interface(contract).functions[function].encode(*arguments)
        return Call(self._deployment.address_of(contract), data, f"{contract}.{function}")

    # --- AnchorLog ---

    def anchor(self, head: bytes, root: bytes) -> Call:
        """Extend the sender's own chain: applies only while `head` still stands."""
        return self._call("AnchorLog", "anchor", head, root)

    def anchor_frame(self, frame: Frame, signature: bytes) -> Call:
        """Anchor one frame on its meter key's own chain. Anyone may send it."""
        return self._call("AnchorLog", "anchorFrame", frame, signature)

    # --- DeviceRegistry ---

    def admit_operator(self, operator: bytes) -> Call:
        """By the registry's admin."""
        return self._call("DeviceRegistry", "grantRole", OPERATOR_ROLE, operator)

    def enrol_device(self, device: bytes, owner: bytes) -> Call:
        """By an admitted operator, whose device it becomes."""
        return self._call("DeviceRegistry", "enrolDevice", device, owner)

    def set_status(self, device: bytes, status: int) -> Call:
        """1 active, 2 suspended, 3 retired (for ever). By the device's operator."""
        return self._call("DeviceRegistry", "setStatus", device, status)

    def set_channel(self, device: bytes, channel: int, rated_watts: int, enabled: bool) -> Call:
        """By the device's operator."""
        return self._call("DeviceRegistry", "setChannel", device, channel, rated_watts, enabled)

    def change_operator(self, device: bytes, operator: bytes) -> Call:
        """By the device's owner."""
        return self._call("DeviceRegistry", "changeOperator", device, operator)

    def change_owner(self, device: bytes, owner: bytes) -> Call:
        """By the device's owner."""
        return self._call("DeviceRegistry", "changeOwner", device, owner)

    def register_key(self, binding: KeyBinding, signature: bytes) -> Call:
        """A first key of a role, signed by itself. By the device's operator."""
        return self._call("DeviceRegistry", "registerKey", *binding, signature)

    def rotate_key(self, rotation: KeyRotation, old_key_signature: bytes, new_key_signature: bytes) -> Call:
        """Signed by both keys. Anyone may send it."""
        return self._call("DeviceRegistry", "rotateKey", rotation, old_key_signature, new_key_signature)

    def replace_key(self, rotation: KeyRotation, owner_signature: bytes, operator_signature: bytes, binding_signature: bytes) -> Call:
        """For a lost key: signed by owner and operator; the new key signs its binding (empty for a revocation)."""
        return self._call("DeviceRegistry", "replaceKey", rotation, owner_signature, operator_signature, binding_signature)

    # --- EnergyEscrow: sessions ---

    def open_by_signature(self, terms: Terms, order: Open, signature: bytes) -> Call:
        """Open a session on the payer's signed `Open`. Anyone may send it."""
        return self._call("EnergyEscrow", "openBySignature", terms, order.lock_micro, order.deadline_s, signature)

    def open_as_payer(self, terms: Terms, lock_micro: int) -> Call:
        return self._call("EnergyEscrow", "openAsPayer", terms, lock_micro)

    def top_up_by_signature(self, terms: Terms, order: TopUp, signature: bytes) -> Call:
        """Raise the lock on the payer's signed `TopUp`. Anyone may send it."""
        return self._call("EnergyEscrow", "topUpBySignature", terms, order.total_lock_micro, order.deadline_s, signature)

    def top_up_as_payer(self, terms: Terms, total_lock_micro: int) -> Call:
        return self._call("EnergyEscrow", "topUpAsPayer", terms, total_lock_micro)

    def claim_paid(self, payee: bytes, rows: Sequence[PaidRow]) -> Call:
        """Claim on signed payments, at most `MAX_CLAIMS`. A row that cannot be paid is skipped with an event."""
        encoded = [(row.payment, row.terms.signer, *_vrs(row.signature)) for row in rows]
        return self._call("EnergyEscrow", "claimPaid", payee, encoded)

    def claim_metered(self, payee: bytes, rows: Sequence[MeteredRow]) -> Call:
        """Claim on metered charges, at most `MAX_CLAIMS`. A row that cannot be paid is skipped with an event."""
        encoded = [(row.charge, row.terms.signer, _limits(row.terms), *_vrs(row.signature)) for row in rows]
        return self._call("EnergyEscrow", "claimMetered", payee, encoded)

    def request_close(self, terms: Terms) -> Call:
        """By payer or pay key; after the latest end, by anyone."""
        return self._call("EnergyEscrow", "requestClose", terms)

    def request_close_by_signature(self, terms: Terms, order: RequestClose, signature: bytes) -> Call:
        """On the payer's or the pay key's signature. Anyone may send it."""
        return self._call("EnergyEscrow", "requestCloseBySignature", terms, order.deadline_s, signature)

    def close(self, terms: Terms) -> Call:
        """End a session and return what was not claimed. By the payee at once, by anyone after the delay."""
        return self._call("EnergyEscrow", "close", terms)

    def credit_note(self, terms: Terms, amount_micro: int) -> Call:
        """Give back part of what was claimed. By the payee. Sent twice it pays twice: the outbox must not."""
        return self._call("EnergyEscrow", "creditNote", terms, amount_micro)

    # --- EnergyEscrow: balances ---

    def deposit(self, amount_micro: int) -> Call:
        """Needs an allowance. Sent twice it pays in twice: the outbox must not."""
        return self._call("EnergyEscrow", "deposit", amount_micro)

    def deposit_for(self, account: bytes, amount_micro: int) -> Call:
        """Pay in for another account. Needs an allowance. Sent twice it pays in twice: the outbox must not."""
        return self._call("EnergyEscrow", "depositFor", account, amount_micro)

    def deposit_with_permit(self, amount_micro: int, deadline_s: int, signature: bytes) -> Call:
        """Pay in with an ERC-2612 permit of the sender. Sent twice it pays in once."""
        return self._call("EnergyEscrow", "depositWithPermit", amount_micro, deadline_s, *_vrs(signature))

    def withdraw(self, to: bytes, amount_micro: int) -> Call:
        """Pay the sender's free balance out. Sent twice it pays out twice, if there is enough: the outbox must not."""
        return self._call("EnergyEscrow", "withdraw", to, amount_micro)

    def withdraw_by_signature(self, order: Withdraw, signature: bytes) -> Call:
        """Pay a free balance out on its account's signature. Anyone may send it; the nonce makes it once."""
        return self._call("EnergyEscrow", "withdrawBySignature", *order, signature)

    # --- SettlementToken ---

    def mint(self, receipt_id: bytes, to: bytes, amount_micro: int) -> Call:
        """Against a payment provider's receipt, used once. By the minter, under the day's cap."""
        return self._call("SettlementToken", "mint", receipt_id, to, amount_micro)

    def pay_out(self, payout_id: bytes, amount_micro: int) -> Call:
        """Burn tokens of the sender, for which the provider pays. Sent twice it burns twice: the outbox must not."""
        return self._call("SettlementToken", "payOut", payout_id, amount_micro)

    def hand_over_minter(self, new_minter: bytes) -> Call:
        """Move the minter's role. By the minter."""
        return self._call("SettlementToken", "handOverMinter", new_minter)

    def set_daily_cap(self, cap_micro: int) -> Call:
        """Most that may be minted in one UTC day. By the cap keeper."""
        return self._call("SettlementToken", "setDailyCap", cap_micro)

    def approve(self, spender: bytes, amount_micro: int) -> Call:
        """Let `spender` (the escrow, for a deposit) take so much of the sender's tokens."""
        return self._call("SettlementToken", "approve", spender, amount_micro)

    def permit(self, owner: bytes, spender: bytes, amount_micro: int, deadline_s: int, signature: bytes) -> Call:
        """An approval by the owner's ERC-2612 signature. Anyone may send it, once."""
        return self._call("SettlementToken", "permit", owner, spender, amount_micro, deadline_s, *_vrs(signature))

    def transfer_from(self, owner: bytes, to: bytes, amount_micro: int) -> Call:
        """By somebody the owner allowed. Sent twice it pays twice, as far as the allowance goes: the outbox must not."""
        return self._call("SettlementToken", "transferFrom", owner, to, amount_micro)

    def transfer(self, to: bytes, amount_micro: int) -> Call:
        """Sent twice it pays twice: the outbox must not."""
        return self._call("SettlementToken", "transfer", to, amount_micro)


def _vrs(signature: bytes) -> tuple[int, bytes, bytes]:
    return signature[64], signature[:32], signature[32:64]


def _limits(terms: Terms) -> tuple[int, ...]:
    """The terms a metered claim is checked against, in the order of `MoneyTypes.Limits`."""
    return (
        terms.max_micro_per_kwh,
        terms.max_micro_per_hour,
        terms.max_flat_micro,
        terms.rated_watts,
        terms.latest_end_s,
        terms.stop_grace_s,
    )
