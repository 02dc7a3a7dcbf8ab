"""The typed parts of a proof bundle (`bundle` reads and writes them).

Energy in milliwatt-hours, money in micro-units, time in UTC seconds, hashes of 32 bytes, addresses of 20.
"""

from __future__ import annotations

from typing import Any, Generic, NamedTuple, TypeVar

from .control import SupplyConfirmation
from .evidence import ChargeKeyVoucher, Frame, HandOver, Receipt, Record, Ruling, anchor_link
from .money import MeteredCharge, Payment, Terms
from .wire import Details

S = TypeVar("S")

ANOTHER_POINT = "another point"
"""The rule of an `Erasure` for records of another channel of the device: they are somebody else's, and no bill of this point needs them."""

AFTER_THE_BILL = "after the bill"
"""The rule of an `Erasure` for records after the last one billed: their frames are there only because a key's end names one of them."""


class Signed(NamedTuple, Generic[S]):
    """A struct and the 65-byte signatures over it: one, or for hand-overs and rulings two or more."""

    value: S
    signatures: tuple[bytes, ...]


class SessionFacts(NamedTuple):
    """What the session was. `session` is recomputed by the auditor; `operator` and `rated_watts` are as the registry has them."""

    session: bytes
    terms: Terms
    chain_id: int
    escrow: bytes
    registry: bytes
    anchor_log: bytes
    opened_at_s: int
    lock_micro: int
    point_salt: bytes | None  # None: erased
    device: bytes
    channel: int
    rated_watts: int
    register_modulus_milliwatt_hours: int  # where the placement's register rolls over; 0: it does not
    operator: bytes  # address: signs hand-overs and rulings
    service_key: bytes  # address that signs receipts, as the agent pinned it
    first_sequence: int  # the record whose register the bill starts from
    last_sequence: int  # the last record billed


class CreditNote(NamedTuple):
    """A transfer of the payee to the payer's refund balance that corrects a claim."""

    amount_micro: int
    at_s: int
    transaction: bytes


class Tail(NamedTuple):
    """Bill − charge, by name: what was supplied and will not be asked for."""

    name: str
    amount_micro: int


class KeyEvent(NamedTuple):
    """A link of the registry's chain of one device. `old_key` zero: a first key; `new_key` zero: a revocation."""

    role: int
    old_key: bytes
    new_key: bytes
    last_frame: bytes
    time_s: int
    block_number: int
    transaction: bytes


class AnchorLink(NamedTuple):
    """A link of one anchorer's chain on AnchorLog. `transaction` is None where nobody needs to look it up."""

    anchorer: bytes
    previous_head: bytes
    root: bytes
    time_s: int
    block_number: int
    transaction: bytes | None

    @property
    def head(self) -> bytes:
        """The head after this link."""
        return anchor_link(self.previous_head, self.root, self.time_s)


class ChainHalt(NamedTuple):
    """The chain made no block between `from_s` (time of `from_block`) and `until_s` (time of the block after it)."""

    from_block: int
    from_s: int
    until_s: int


class HiddenRecord(NamedTuple):
    """A record of which only the struct hash is left: erased, or of another point than the bill's."""

    sequence: int
    record_hash: bytes


class BundledFrame(NamedTuple):
    """A frame, its records and its way into an epoch: `link` counts in `Bundle.links`, None if it is not anchored yet."""

    frame: Frame
    signature: bytes
    records: tuple[Record | HiddenRecord, ...]
    details: tuple[Details, ...]  # of a hidden record: empty
    link: int | None
    path: tuple[bytes, ...]


class OcmfText(NamedTuple):
    """An OCMF text byte for byte. `public_key` None: signed by the meter key; else a foreign meter's, DER SubjectPublicKeyInfo."""

    text: str | None  # None: erased
    text_hash: bytes  # keccak of its UTF-8 bytes
    public_key: bytes | None


class Erasure(NamedTuple):
    """Record bodies `first_sequence`…`last_sequence` are hidden since `at_s`, by `rule` (a retention rule, or ANOTHER_POINT)."""

    first_sequence: int
    last_sequence: int
    at_s: int
    rule: str


class Bundle(NamedTuple):
    """One bill and all its evidence. `frames` in the order of the device's log; `conflicts` are frames refused and kept as proof."""

    session: SessionFacts
    tariff: dict[str, Any]
    agreement: dict[str, Any] | None
    policy: dict[str, Any] | None
    bill: dict[str, Any]
    charge: Signed[MeteredCharge] | Signed[Payment] | None
    voucher: Signed[ChargeKeyVoucher] | None
    claimed_micro: int
    credit_notes: tuple[CreditNote, ...]
    tail: Tail
    key_events: tuple[KeyEvent, ...]  # all of the device, from its first on
    links: tuple[AnchorLink, ...]
    chain_halts: tuple[ChainHalt, ...]
    frames: tuple[BundledFrame, ...]
    conflicts: tuple[BundledFrame, ...]
    receipts: tuple[Signed[Receipt], ...]
    ocmf: tuple[OcmfText, ...]
    hand_overs: tuple[Signed[HandOver], ...]  # signatures: meter key, operator
    rulings: tuple[Signed[Ruling], ...]
    erasures: tuple[Erasure, ...]
    end: Signed[SupplyConfirmation] | None = None  # how supply was measured off, and why; None: not in the file
