"""The policy of a session's terms: who decides, where the money ends, when it must not cut, and what to do when
nobody is heard.

The document's hash stands in the grant (and, as agreementHash, in the terms the payer signed). Form: docs/walls.md.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from onsite.settings import Strict
from protocol.calendar import Hours, zone
from protocol.tariff import WEEKDAYS

from .config import LostCommunication
from .errors import Refused

MAX_PROTECTED_HOURS = 32
"""Stretches in one policy: more than a few a day of the week is not a policy anyone can explain to a customer."""
_TIME = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"


class ProtectedHours(Strict):
    """A stretch of local time in which the end of credit does not cut: [from, to), over midnight where `to` ≤ `from`."""

    from_: str = Field(alias="from", pattern=_TIME)
    to: str = Field(pattern=_TIME)
    days: list[str] = Field(default=list(WEEKDAYS), min_length=1, max_length=7)

    @field_validator("days")
    @classmethod
    def _weekdays(cls, days: list[str]) -> list[str]:
        if any(day not in WEEKDAYS for day in days):
            raise ValueError(f"days are named {', '.join(WEEKDAYS)}")
        return days

    @property
    def hours(self) -> Hours:
        """As tariffs mean them: after midnight a stretch is in the new day (protocol.calendar)."""
        return Hours(_minute(self.from_), _minute(self.to), frozenset(WEEKDAYS.index(day) for day in self.days))


def _minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


class Emergency(Strict):
    """Credit below zero, agreed beforehand."""

    emergency_credit_micro: int = Field(ge=0, le=2**53 - 1)


class LoadFinished(Strict):
    """When the load counts as finished: it has drawn less than so much, in either direction, for so long running."""

    below_milliwatts: int = Field(ge=1, le=100_000_000)
    for_s: int = Field(ge=1, le=86_400)


class Policy(Strict):
    """`mode` local: the agent disconnects at the end of credit by itself; remote: the service does, while it is
    heard.
    """

    mode: Literal["local", "remote"]
    cut_off: Literal["zero"] | Emergency
    protected_hours: list[ProtectedHours] = Field(max_length=MAX_PROTECTED_HOURS)
    lost_communication: LostCommunication
    record_interval_s: int = Field(ge=1, le=86_400)
    sample_interval_s: int = Field(ge=1, le=60)
    load_finished: LoadFinished | None = None
    """None: a load that draws nothing ends no session."""
    arbiter: str | None = Field(default=None, pattern=r"^0x[0-9a-f]{40}$")
    """Who rules on a dispute; nothing an agent acts on."""

    @property
    def emergency_micro(self) -> int:
        """How far use may pass the lock."""
        return 0 if self.cut_off == "zero" else self.cut_off.emergency_credit_micro

    def protected(self, at_s: int, time_zone: str) -> bool:
        """Whether the end of credit must not cut at this UTC second."""
        local = datetime.fromtimestamp(at_s, zone(time_zone))
        return any(stretch.hours.hold(local.toordinal(), local.hour * 60 + local.minute) for stretch in self.protected_hours)


def parse_policy(document: Any) -> Policy:
    """The policy a document states. Raises `Refused` naming the field."""
    try:
        return Policy.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "policy"
        raise Refused("policy", f"the policy's {where}: {first['msg']}") from None
