"""The bodies of requests: strict, nothing unknown, every size bounded. Bytes are 0x hex, as everywhere on the wire."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

MAX_JSON_INTEGER = 2**53 - 1
"""Larger integers are not exact in every JSON reader (RFC 8259 §6), so no door takes them."""

Hex32 = Annotated[str, Field(pattern=r"^0x[0-9a-f]{64}$")]
Hex20 = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]
Hex65 = Annotated[str, Field(pattern=r"^0x[0-9a-f]{130}$")]
AnySignature = Annotated[str, Field(pattern=r"^0x([0-9a-f]{2}){1,2048}$")]
"""Of a key (65 bytes), or whatever an account with code takes (ERC-1271): signatures of several owners pass 2 KiB at thirty of them."""
Amount = Annotated[int, Field(ge=1, le=MAX_JSON_INTEGER)]
Seconds = Annotated[int, Field(ge=0, le=MAX_JSON_INTEGER)]
PointId = Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{1,32}$")]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Binding(Body):
    deadlineS: Seconds
    signature: Hex65


class NewPointBody(Body):
    device: Hex32
    channel: Annotated[int, Field(ge=0, lt=2**32)]
    name: Annotated[str, Field(min_length=1, max_length=100)]
    placement: Annotated[str, Field(min_length=1, max_length=200)]
    serial: Annotated[str, Field(min_length=1, max_length=64)]
    meterKey: Hex20
    ratedWatts: Annotated[int, Field(ge=1, lt=2**32)]
    tariffHash: Hex32
    policy: dict[str, Any]
    registerDigits: Annotated[int, Field(ge=4, le=15)]
    stepMilliwattHours: Annotated[int, Field(ge=1, le=10**9)]
    owner: Hex20 | None = None
    binding: Binding | None = None


class OcmfKeyBody(Body):
    """DER SubjectPublicKeyInfo, secp256k1 or P-256."""

    publicKey: Annotated[str, Field(pattern=r"^0x([0-9a-f]{2}){40,200}$")]


class TariffBody(Body):
    document: dict[str, Any]


class QuoteBody(Body):
    pointId: PointId
    payer: Hex20
    refundTo: Hex20
    metered: bool
    signer: Hex20 | None = None
    lockMicro: Amount
    offerHash: Hex32 | None = None
    follows: Hex32 | None = None


class OpenBody(Body):
    quoteId: Annotated[str, Field(min_length=1, max_length=64)]
    lockMicro: Amount
    deadlineS: Seconds
    signature: AnySignature
    wallet: dict[str, Any] | None = None


class TopUpBody(Body):
    session: Hex32 | None = None
    totalLockMicro: Amount
    deadlineS: Seconds
    signature: AnySignature
    wallet: dict[str, Any] | None = None


class StopBody(Body):
    session: Hex32 | None = None
    deadlineS: Seconds
    signature: AnySignature
    wallet: dict[str, Any] | None = None


class PaymentBody(Body):
    session: Hex32 | None = None
    amountMicro: Amount
    frame: Hex32
    signature: Hex65


class RulingBody(Body):
    """`signatures`: operator's and payer's, in this order; or the payer's alone where an operator's account posts it; or the arbiter's."""

    ruling: dict[str, Any]
    signatures: Annotated[list[Hex65], Field(min_length=1, max_length=2)]


class SignedVoucher(Body):
    voucher: dict[str, Any]
    signature: Hex65


class SignedHandOver(Body):
    handOver: dict[str, Any]
    signature: Hex65


class ReadyBody(Body):
    session: Hex32
    nonce: Hex32


class OfferBody(Body):
    """Read whole by `protocol.offer`, which names what is wrong."""

    offer: dict[str, Any]
    signature: str
    document: dict[str, Any]


class WithdrawOfferBody(Body):
    """`signature`: the provider's over WithdrawOffer, where its key is not with the service."""

    signature: Hex65 | None = None


class SellersBody(Body):
    operatorIds: Annotated[list[Annotated[int, Field(ge=1, le=MAX_JSON_INTEGER)]], Field(max_length=64)]


class NoteBody(Body):
    document: dict[str, Any]
    madeAtS: Seconds
    signature: Hex65
