"""A point's policy: who decides, where credit ends, what lost communication means. Its hash is in the terms (`agreementHash`)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import orjson
import rfc8785
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from protocol.calendar import Hours, zone
from protocol.control import document_hash

from ..errors import BadRequest

WEEKDAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
MAX_PROTECTED_HOURS = 32
"""More stretches than two seasons of weekdays need."""
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class EmergencyCredit(_Strict):
    emergencyCreditMicro: int = Field(ge=1, le=10**12)


class ProtectedHours(_Strict):
    """Half-open, on the wall clock of the tariff's zone; `to` at or before `from` wraps round midnight. As tariffs and agents mean
    them: after midnight a stretch is in the new day.
    """

    from_: str = Field(alias="from")
    to: str
    days: list[str] | None = Field(default=None, min_length=1, max_length=7)

    @model_validator(mode="after")
    def _check(self) -> ProtectedHours:
        if not _TIME.fullmatch(self.from_) or not _TIME.fullmatch(self.to):
            raise ValueError("from and to are local times HH:MM")
        if self.days is not None and (set(self.days) - set(WEEKDAYS) or len(set(self.days)) != len(self.days)):
            raise ValueError(f"days are different ones of {', '.join(WEEKDAYS)}")
        return self

    def hold(self, local: datetime) -> bool:
        weekdays = frozenset(WEEKDAYS.index(day) for day in self.days or WEEKDAYS)
        hours = Hours(_minutes(self.from_), _minutes(self.to), weekdays)
        return hours.hold(local.toordinal(), local.hour * 60 + local.minute)


class LostCommunication(_Strict):
    action: Literal["disconnect", "hold"]
    milliwattHours: int = Field(ge=0, le=10**12)
    seconds: int = Field(ge=0, le=31 * 86_400)


class LoadFinished(_Strict):
    """The agent ends the session by itself once the load has drawn less, in either direction, for so long running."""

    belowMilliwatts: int = Field(ge=1, le=100_000_000)
    forS: int = Field(ge=1, le=86_400)


class Policy(_Strict):
    """The document of docs/walls.md."""

    mode: Literal["local", "remote"]
    cutOff: Literal["zero"] | EmergencyCredit
    protectedHours: list[ProtectedHours] = Field(max_length=MAX_PROTECTED_HOURS)
    lostCommunication: LostCommunication
    recordIntervalS: int = Field(ge=1, le=86_400)
    sampleIntervalS: int = Field(ge=1, le=3_600)
    loadFinished: LoadFinished | None = None
    arbiter: str | None = Field(default=None, pattern="^0x[0-9a-f]{40}$", description="who rules alone on what is disputed")

    def limit_micro(self, lock_micro: int) -> int:
        """What may be used before supply is cut: the lock, and an emergency credit where one is agreed."""
        return lock_micro + (0 if self.cutOff == "zero" else self.cutOff.emergencyCreditMicro)

    def protects(self, at_s: int, zone_name: str) -> bool:
        """Whether the end of credit does not cut at this instant."""
        if not self.protectedHours:
            return False
        local = datetime.fromtimestamp(at_s, UTC).astimezone(zone(zone_name))
        return any(hours.hold(local) for hours in self.protectedHours)


class ParsedPolicy(NamedTuple):
    policy: Policy
    text: str  # RFC 8785
    hash: bytes


def parse_policy(document: dict[str, Any]) -> ParsedPolicy:
    """A policy from its document. Raises `BadRequest` naming the field."""
    try:
        policy = Policy.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadRequest(first["msg"], ".".join(("policy", *(str(part) for part in first["loc"])))) from None
    return ParsedPolicy(policy, rfc8785.dumps(document).decode(), document_hash(document))


def stored_policy(text: str) -> Policy:
    """A policy that was checked when it was stored."""
    return Policy.model_validate(orjson.loads(text))


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])
