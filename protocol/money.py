"""The money structs: terms and what moves under them. Domain: chain and escrow (`eip712.money_domain`).

Amounts are micro-units of the settlement token (6 decimals), all cumulative, so that a repeat changes nothing. Ceilings include tax; a
minimum price counts as flat.
"""

from __future__ import annotations

from typing import NamedTuple

from .eip712 import digest, money_domain, struct, type_of
from .hashing import keccak

MAX_CLOSE_DELAY_S = 7 * 86_400
MAX_CLOSE_DELAY_BLOCKS = 1_000
MAX_SESSION_S = 62 * 86_400


@struct(
    "Terms(address payer,address payee,address refundTo,bytes32 pointCommitment,bool metered,address signer,bytes32 tariffHash,"
    "bytes32 agreementHash,uint64 maxMicroPerKwh,uint64 maxMicroPerHour,uint64 maxFlatMicro,uint32 ratedWatts,uint64 latestEndS,"
    "uint32 stopGraceS,uint32 closeDelayS,uint32 closeDelayBlocks,bytes32 salt)"
)
class Terms(NamedTuple):
    """What a session is agreed on. `signer` signs amounts: the buyer's pay key or, metered, the agent's charge key."""

    payer: bytes
    payee: bytes
    refund_to: bytes
    point_commitment: bytes
    metered: bool
    signer: bytes
    tariff_hash: bytes
    agreement_hash: bytes
    max_micro_per_kwh: int
    max_micro_per_hour: int
    max_flat_micro: int
    rated_watts: int
    latest_end_s: int
    stop_grace_s: int
    close_delay_s: int
    close_delay_blocks: int
    salt: bytes


@struct("Open(bytes32 session,uint64 lockMicro,uint64 deadlineS)")
class Open(NamedTuple):
    session: bytes
    lock_micro: int
    deadline_s: int


@struct("TopUp(bytes32 session,uint64 totalLockMicro,uint64 deadlineS)")
class TopUp(NamedTuple):
    """Absolute and rising: a repeat does nothing."""

    session: bytes
    total_lock_micro: int
    deadline_s: int


@struct("Payment(bytes32 session,uint64 amountMicro,bytes32 frame)")
class Payment(NamedTuple):
    """The pay key's word: `amount_micro` in all, up to and including `frame`."""

    session: bytes
    amount_micro: int
    frame: bytes


@struct("MeteredCharge(bytes32 session,uint64 amountMicro,uint64 energyMilliwattHours,uint64 elapsedS,bytes32 frame)")
class MeteredCharge(NamedTuple):
    """The charge key's word in metered mode; all three quantities cumulative since the session opened."""

    session: bytes
    amount_micro: int
    energy_milliwatt_hours: int
    elapsed_s: int
    frame: bytes


@struct("RequestClose(bytes32 session,uint64 deadlineS)")
class RequestClose(NamedTuple):
    session: bytes
    deadline_s: int


@struct("Withdraw(address account,address to,uint128 amountMicro,uint256 nonce,uint64 deadlineS)")
class Withdraw(NamedTuple):
    account: bytes
    to: bytes
    amount_micro: int
    nonce: int
    deadline_s: int


_PAYMENT_TYPE_HASH = type_of(Payment).type_hash


def payment_digest(prefix: bytes, session: bytes, amount_micro: int, frame: bytes) -> bytes:
    """`digest` of a `Payment` whose domain's `signing_prefix` is at hand: for those who check thousands a second. Arguments in range."""
    return keccak(prefix + keccak(_PAYMENT_TYPE_HASH + session + amount_micro.to_bytes(32, "big") + frame))


def signing_prefix(chain_id: int, escrow: bytes) -> bytes:
    """What stands before the struct hash in everything signed in this money domain."""
    return b"\x19\x01" + money_domain(chain_id, escrow).separator()


def session_id(terms: Terms, chain_id: int, escrow: bytes) -> bytes:
    """A session's id: the money-domain digest of its terms, so that chain and escrow are part of it."""
    return digest(money_domain(chain_id, escrow), terms)


def point_commitment(device: bytes, channel: int, meter_key: bytes, salt: bytes) -> bytes:
    """What stands in the terms in place of the point: keccak(device ‖ uint32 channel ‖ address meterKey ‖ salt)."""
    return keccak(device + channel.to_bytes(4, "big") + meter_key + salt)


def ceiling_micro(terms: Terms, energy_milliwatt_hours: int, elapsed_s: int) -> int:
    """The most a metered charge may ask, exactly as EnergyEscrow computes it (each term rounded down)."""
    return (
        terms.max_micro_per_kwh * energy_milliwatt_hours // 1_000_000
        + terms.max_micro_per_hour * elapsed_s // 3_600
        + terms.max_flat_micro
    )


def deliverable_milliwatt_hours(rated_watts: int, elapsed_s: int) -> int:
    """The most energy the connection can deliver in `elapsed_s`, rounded down, as EnergyEscrow computes it."""
    return rated_watts * elapsed_s * 1_000 // 3_600
