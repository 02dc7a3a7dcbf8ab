"""`agent.toml`: the settings of one agent, strict (an unknown or misspelt name is an error that names it).

What the control key signs is obeyed only within the limits set here at enrolment: `maxLockMicro`, `maxCreditMicro`,
`maxCreditMilliwattHours` and `ratedWatts` bound what a stolen control key can give away.
"""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic.alias_generators import to_camel

from protocol.eip712 import hex_bytes
from protocol.errors import Malformed

from .errors import ConfigError


def _parser(size: int) -> BeforeValidator:
    def parse(value: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        try:
            return hex_bytes(value, size, "")
        except Malformed as error:
            raise ValueError(error.what) from None

    return BeforeValidator(parse)


_HEX = PlainSerializer(lambda raw: "0x" + raw.hex())
Bytes32 = Annotated[bytes, _parser(32), _HEX]
Address = Annotated[bytes, _parser(20), _HEX]


class Strict(BaseModel):
    """Names in camelCase outside, snake_case inside; no other names; no value changed silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel, populate_by_name=True)


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


def _service_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http(s) URL such as https://service.example")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must not carry a user, password, query or fragment")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("must be https, except on this machine itself (127.0.0.1, localhost)")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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

    service_url: Annotated[str, AfterValidator(_service_url)]
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


MAX_CONFIG_BYTES = 1 << 20


def load_config(path: Path) -> Config:
    """The settings in a file. Raises `ConfigError` naming every setting that is wrong. Relative device paths are
    relative to the file.
    """
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError(f"{path} is not a settings file ({path.stat().st_size} bytes)")
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; docs/agent.md shows an agent.toml") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        raise ConfigError("\n".join(_complaint(path, item) for item in error.errors())) from None
    base = path.resolve().parent
    return config.model_copy(update={name: _device(getattr(config, name), base) for name in ("meter", "relay")})


def _device(url: str, base: Path) -> str:
    """A serial device: URLs (`socket://…`) as they are, paths made absolute."""
    return url if "://" in url else str(base / url)


def _complaint(path: Path, item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"]) or "the file"
    what = {"missing": "is missing", "extra_forbidden": "is not a setting"}.get(item["type"], item["msg"])
    return f"{path}: {where}: {what}"
