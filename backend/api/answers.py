"""The answers of the reports' calls, as their OpenAPI shows them. Names and units are the wire's; bytes are 0x hex."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

Item = TypeVar("Item")


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PageAnswer(Answer, Generic[Item]):
    """A page of a list. `next` is the `after` of the next one; null: these were the last."""

    items: list[Item]
    next: str | None


class ReadingAnswer(Answer):
    sequence: int
    endS: int
    powerMilliwatts: int
    importMilliwattHours: int
    voltageMillivolts: int


class SupplyAnswer(Answer):
    """A command or a confirmation of what was measured."""

    atS: int
    what: str
    state: str
    detail: str
    session: str


class AlarmAnswer(Answer):
    id: int
    kind: str
    place: str
    detail: str
    severity: str
    raisedAtS: int
    lastSeenAtS: int
    times: int
    clearedAtS: int | None
    acknowledgedBy: str | None
    acknowledgedAtS: int | None


class LedgerAccountAnswer(Answer):
    accountId: int
    kind: str
    reference: str
    debitsPostedMicro: int
    creditsPostedMicro: int
    debitsPendingMicro: int
    creditsPendingMicro: int


class TransferAnswer(Answer):
    transferId: str
    kind: str
    debitAccountId: int
    debitKind: str
    creditAccountId: int
    creditKind: str
    amountMicro: int
    pendingId: str | None
    cause: str
    reference: str
    atS: int


class ExposureAnswer(Answer):
    """What a provider delivered on trust in its next claim. `boundMicro`: the most that can stand unclaimed in the open `sessions` before a
    claim leaves; `claimAgeS`: the longest it waits; `creditMicro`: the most use that may stand unsigned in one session, payment mode.
    """

    sessions: int
    unclaimedMicro: int
    oldestAtS: int | None
    unsignedMicro: int
    boundMicro: int
    claimAmountMicro: int
    claimAgeS: int
    creditMicro: int


class LedgerAnswer(Answer):
    """The books at a glance. `balanced`: debits = credits = what moved."""

    heldMicro: int
    payeeMicro: int
    paidOutMicro: int
    salesMicro: int
    writtenOffMicro: int
    claimedTodayMicro: int
    balanced: bool
    trial: dict[str, int]


class EpochAnswer(Answer):
    """An epoch, and how many of the caller's frames it holds. `pending` says why it is not anchored; empty: it is."""

    epochId: int
    anchorer: str
    root: str
    frames: int
    state: str
    closedAtS: int
    head: str | None
    transaction: str | None
    blockNumber: int | None
    blockTimeS: int | None
    pending: str


class FrameAnswer(Answer):
    frame: str
    device: str
    incarnation: str
    firstSequence: int
    lastSequence: int
    endS: int
    receivedAtS: int
    anchorByS: int
    flagged: str


class TransactionAnswer(Answer):
    """A transaction the service wants. `pending` says what it waits for; empty: nothing."""

    transactionId: int
    kind: str
    what: str
    reference: str
    state: str
    createdAtS: int
    settledAtS: int | None
    transaction: str | None
    blockNumber: int | None
    gasUsed: int | None
    reason: str
    pending: str


class ConflictAnswer(Answer):
    """Proof of equivocation: a validly signed frame that was refused, beside the one accepted before it."""

    conflictId: int
    device: str
    incarnation: str
    firstSequence: int
    kind: str
    refusedFrame: str
    acceptedFrame: str
    receivedAtS: int
    disputedFromS: int
    ruledAtS: int | None


class MomentAnswer(Answer):
    atS: int
    what: str
    detail: str


class TimelineAnswer(Answer):
    """What happened to a session, in the order of time, and why anything of it is pending."""

    moments: list[MomentAnswer]
    pending: list[str]


class TariffAnswer(Answer):
    tariffHash: str
    createdAtS: int
    document: dict[str, Any]


class OverviewAnswer(Answer):
    """How the operator's installation stands. Money is null for those who may not see it."""

    points: int
    pointsHeard: int
    pointsConnected: int
    pointsDisconnected: int
    powerMilliwatts: int
    liveSessions: int
    endedNotSettled: int
    openAlarms: int
    criticalAlarms: int
    heldMicro: int | None
    claimedTodayMicro: int | None
    lastAnchorAtS: int | None
    framesNotAnchored: int
    chainBlock: int | None
    chainBlockTimeS: int | None


class UserAnswer(Answer):
    userId: int
    name: str
    role: str
    operatorId: int
    hasPassword: bool
    wallet: str | None
    enabled: bool
    createdAtS: int


class TokenAnswer(Answer):
    """A token's row; `token` itself only in the one answer that makes it."""

    tokenId: int
    label: str
    operatorId: int
    createdAtS: int
    expiresAtS: int
    token: str | None = None


class OperatorAnswer(Answer):
    operatorId: int
    name: str
    payee: str


class ActAnswer(Answer):
    actId: int
    atS: int
    who: str
    what: str
    place: str
    detail: str


class MeAnswer(Answer):
    """Who the caller is here."""

    name: str
    role: str
    permissions: list[str]
    operatorId: int
    ofInstallation: bool


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    where: str
    transient: bool
