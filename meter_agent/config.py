"""`agent.toml`: the settings of one agent, strict (an unknown or misspelt name is an error that names it).

What the control key signs is obeyed only within the limits set here at enrolment: `maxLockMicro`, `maxCreditMicro`,
`maxCreditMilliwattHours` and `ratedWatts` bound what a stolen control key can give away.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from onsite.settings import Address, Bytes32, Strict, line_url, load_settings, service_url


class LostCommunication(Strict):
    """What a point does on its own when the service is not heard: disconnect, or go on for so much energy and time."""

    action: Literal["disconnect", "hold"]
    milliwatt_hours: int = Field(default=0, ge=0)
    seconds: int = Field(default=0, ge=0)


class OwnLostCommunication(LostCommunication):
    """The point's own policy; `afterS` is how long a silence counts as lost."""

    action: Literal["disconnect", "hold"] = "hold"
    milliwatt_hours: int = Field(default=10_000_000, ge=0)
    seconds: int = Field(default=3_600, ge=0)
    after_s: int = Field(default=30, ge=1, le=3_600)


class MeterLine(Strict):
    """How to speak to the meter (IEC 62056-21)."""

    initial_baud: int = 300
    address: str = ""
    password: str = "00000000"  # noqa: S105  # the factory password, which only opens reading


class RelayLine(Strict):
    """How to speak to the relay (Modbus RTU)."""

    unit: int = Field(default=1, ge=1, le=247)
    coil: int = Field(default=0, ge=0, le=65_535)
    auxiliary_input: int = Field(default=0, ge=0, le=65_535)
    baud: int = 19_200


class Config(Strict):
    """Everything `agent.toml` may say. Energy in milliwatt-hours, money in micro-units, power in watts, time in
    seconds.
    """

    device: Bytes32
    channel: int = Field(default=1, ge=0, le=2**32 - 1)
    placement: str = Field(min_length=1, max_length=200)
    rated_watts: int = Field(ge=1, le=100_000_000)
    starting_power_milliwatts: int = Field(default=5_000, ge=0)

    meter: str
    relay: str
    meter_line: MeterLine = MeterLine()
    relay_line: RelayLine = RelayLine()

    service_url: Annotated[str, AfterValidator(service_url)]
    service_key: Address
    control_key: Address
    owner_key: Address | None = None
    operator_key: Address | None = None
    chain_id: int = Field(ge=1, le=2**53 - 1)
    escrow: Address
    registry: Address

    max_lock_micro: int = Field(ge=0, le=2**53 - 1)
    max_credit_micro: int = Field(default=0, ge=0, le=2**53 - 1)
    max_credit_milliwatt_hours: int = Field(default=0, ge=0, le=2**53 - 1)
    lost_communication: OwnLostCommunication = OwnLostCommunication()

    record_interval_s: int = Field(default=900, ge=1, le=86_400)
    sample_interval_s: int = Field(default=1, ge=1, le=60)
    keep_acknowledged_days: int = Field(default=30, ge=30)
    low_disk_bytes: int = Field(default=64 << 20, ge=1 << 20)


def load_config(path: Path) -> Config:
    """The settings in a file. Raises `ConfigError` naming every setting that is wrong. Relative device paths are
    relative to the file.
    """
    config = load_settings(path, Config, "docs/agent.md shows an agent.toml")
    base = path.resolve().parent
    return config.model_copy(update={name: line_url(getattr(config, name), base) for name in ("meter", "relay")})
