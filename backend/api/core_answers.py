"""The answers of the calls of agents, payers and points, as their OpenAPI shows them: the formats of docs/walls.md."""

from __future__ import annotations

from typing import Any

from .answers import Answer


class LastReadingAnswer(Answer):
    """`supply` as measured: 1 disconnected, 2 connected, 3 switching failed; null: not measured."""

    sequence: int
    endS: int
    importMilliwattHours: int
    exportMilliwattHours: int
    powerMilliwatts: int
    voltageMillivolts: int
    flags: int
    quarantinedSinceS: int | None
    supply: int | None
    supplyAtS: int | None


class PointAnswer(Answer):
    pointId: str
    device: str
    channel: int
    name: str
    placement: str
    serial: str
    ratedWatts: int
    tariffHash: str
    policy: dict[str, Any]
    enabled: bool
    meterKey: str
    controlKey: str
    serviceKey: str
    chainId: int
    escrow: str
    registry: str
    enrolment: str
    online: bool
    reading: LastReadingAnswer | None


class DisputedPlaceAnswer(Answer):
    """A place that two frames claim: the log's, and the one that was refused."""

    incarnation: str
    firstSequence: int
    lastSequence: int
    kind: str
    heldFrame: str | None
    refusedFrame: str


class DisputeAnswer(Answer):
    """Why part of a session is not billed, and until when a ruling on it is waited for."""

    fromS: int | None
    places: list[DisputedPlaceAnswer]
    blocked: str
    rulingByS: int


class SessionAnswer(Answer):
    """A session as it stands. Amounts in micro-units, energy in mWh, both since it opened. `waitingFor` says why it is where it is."""

    session: str
    state: str
    pointId: str
    metered: bool
    payer: str
    terms: dict[str, Any]
    lockMicro: int
    wantedLockMicro: int
    billMicro: int
    energyMilliwattHours: int
    chargeMicro: int
    claimableMicro: int
    claimedMicro: int
    returnedMicro: int
    tailMicro: int
    creditNoteMicro: int
    openedAtS: int | None
    runningAtS: int | None
    endedAtS: int | None
    settledAtS: int | None
    endCause: str
    endDetail: str
    closeRequestedAtS: int | None
    disconnectedAtS: int | None
    blocked: str
    disputedFromS: int | None
    firstSequence: int | None
    lastSequence: int | None
    offerHash: str | None
    follows: str | None
    unlockedMicro: int | None
    dispute: DisputeAnswer | None
    waitingFor: str
    steps: list[dict[str, Any]]
    links: dict[str, str]


class OpenedAnswer(SessionAnswer):
    """The session that was opened; the token opens it to its payer."""

    accessToken: str


class EstimateAnswer(Answer):
    """What the lock buys at the ceilings; null: the terms set no such ceiling."""

    milliwattHours: int | None
    secondsAtRatedPower: int | None


class PlaceAnswer(Answer):
    """What the terms' `pointCommitment` is made of, so that whoever signs them can compute it."""

    device: str
    channel: int
    meterKey: str
    pointSalt: str


class QuoteAnswer(Answer):
    """Terms ready to be signed. `typedData` is the EIP-712 document of Open; `accessToken` opens the session to its payer.

    `policy` hashes to the terms' `agreementHash`.
    """

    quoteId: str
    terms: dict[str, Any]
    session: str
    tariff: dict[str, Any]
    policy: dict[str, Any]
    estimate: EstimateAnswer
    expiresAtS: int
    typedData: dict[str, Any]
    accessToken: str
    point: PlaceAnswer
    offerHash: str | None
    follows: str | None


class ServiceAnswer(Answer):
    serviceKey: str
    chainId: int
    escrow: str
    registry: str
    anchorLog: str
    token: str
    providerBook: str | None
    taskEscrow: str | None
    walletFactory: str | None
    payee: str
    anchorer: str
    epochS: int


class TariffPostedAnswer(Answer):
    tariffHash: str


class ReceiptAnswer(Answer):
    device: str
    incarnation: str
    throughSequence: int
    frame: str
    receivedAtS: int
    anchorByS: int
    signature: str


class RefusedAnswer(Answer):
    frame: str | None
    code: str
    detail: str
    transient: bool


class FramesAnswer(Answer):
    receipts: list[ReceiptAnswer]
    accepted: int
    repeated: int
    refused: list[RefusedAnswer]


class VoucherAnswer(Answer):
    chargeKey: str
    used: bool


class HandOverAnswer(Answer):
    id: int
    approved: bool


class ReadyAnswer(Answer):
    """`why` RECONNECT has to wait, where it was not commanded."""

    commanded: bool
    why: str


class ConfirmationAnswer(Answer):
    new: bool


class PaymentAnswer(Answer):
    amountMicro: int
    claimable: bool
    session: SessionAnswer


class BillAnswer(Answer):
    tariff: str
    tariffId: str
    tariffVersion: int
    currency: str
    openedAtS: int
    endedAtS: int
    firstSequence: int
    lastSequence: int
    energyMilliwattHours: int
    quarantinedRecords: int
    lines: list[dict[str, Any]]
    netMicro: int
    taxMicro: int
    totalMicro: int


class CheckAnswer(Answer):
    name: str
    ok: bool
    detail: str


class ReadinessAnswer(Answer):
    ready: bool
    checks: list[CheckAnswer]


class HealthAnswer(Answer):
    status: str


class OfferPutAnswer(Answer):
    """`state`: publishing, published, refused (the chain would not have it), expired, withdrawn."""

    offerHash: str
    state: str


class OfferAnswer(OfferPutAnswer):
    offer: dict[str, Any]
    signature: str
    document: dict[str, Any]


class OffersAnswer(Answer):
    items: list[OfferAnswer]


class SellersAnswer(Answer):
    operatorIds: list[int]


class WalletAnswer(Answer):
    """A wallet in block `blockNumber`; `lockedMicro` is what its open sessions here hold, by final events. Amounts in micro-units."""

    wallet: str
    deployed: bool
    owner: str | None
    device: str | None
    payKey: str | None
    policy: dict[str, Any] | None
    policyHash: str | None
    frozen: bool
    freeMicro: int
    lockedMicro: int
    dayMicro: int
    dayNumber: int | None
    blockNumber: int | None


class NoteAnswer(Answer):
    noteHash: str


class RefusedPaymentAnswer(Answer):
    """`code`: malformed, bad_signature, unknown_session, metered, over, not_rising, above_lock."""

    index: int
    code: str
    detail: str


class PaymentsAnswer(Answer):
    accepted: int
    repeated: int
    refused: list[RefusedPaymentAnswer]
