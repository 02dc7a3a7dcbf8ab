"""`buyer.toml`: what the owner wants of the device's buyer, strict (an unknown or misspelt name is an error that names it).

Money in micro-units, power in watts, time in seconds, shares in parts per million. Names in snake_case or camelCase.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from onsite.settings import Address, Strict, line_url, load_settings, service_url
from protocol.errors import Malformed
from protocol.wallet import Policy, parse_policy

MOST = 2**53 - 1
Micro = Annotated[int, Field(ge=0, le=MOST)]


class Preference(Strict):
    """What a good offer is: `load_watts` for `expected_s` is the load that offers are priced for."""

    kind: Literal["cheapest", "greenest"] = "cheapest"
    load_watts: int = Field(ge=1, le=100_000_000)
    expected_s: int = Field(default=3_600, ge=10, le=62 * 86_400)
    max_micro_per_kwh: Micro | None = None
    """Most that the expected load may cost a kWh in all, flat and time parts spread over it."""


class Money(Strict):
    """`lock_micro` when a session opens; `step_micro` more whenever less than `low_micro` is left; `day_micro` newly locked a UTC day."""

    lock_micro: int = Field(ge=1, le=MOST)
    step_micro: int = Field(ge=1, le=MOST)
    low_micro: int = Field(ge=1, le=MOST)
    day_micro: int = Field(ge=1, le=MOST)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low_micro >= self.lock_micro or self.low_micro >= self.step_micro:
            raise ValueError("low_micro must be below lock_micro and step_micro, or every payment would ask for a top-up")
        return self


class OwnMeterSettings(Strict):
    """The buyer's own meter: `class_ppm` the error of both meters together, `line_loss_ppm` what is lost between them."""

    url: str
    class_ppm: int = Field(ge=0, le=500_000)
    line_loss_ppm: int = Field(default=0, ge=0, le=500_000)
    drift_window_s: int = Field(default=600, ge=10, le=86_400)
    initial_baud: int = 300


class Settings(Strict):
    """Everything `buyer.toml` may say."""

    service: Annotated[str, AfterValidator(service_url)]
    service_key: Address
    wallet: Address | None = None
    payer: Address | None = None
    chain_id: int = Field(ge=1, le=MOST)
    escrow: Address
    provider_book: Address | None = None
    policy_file: str | None = None
    point: str = Field(pattern=r"^[0-9A-Za-z_-]{1,32}$")
    patience_s: int = Field(default=30, ge=1, le=3_600)
    poll_s: int = Field(default=5, ge=1, le=3_600)
    connection_watts: int | None = Field(default=None, ge=1, le=100_000_000)
    """What the device's own connection can carry: energy beyond it is not paid, whatever rating the seller states."""
    preference: Preference
    money: Money
    own_meter: OwnMeterSettings | None = None

    @model_validator(mode="after")
    def _one_payer(self) -> Self:
        if (self.wallet is None) == (self.payer is None):
            raise ValueError("name either wallet (a DeviceWallet) or payer (the pay key's own account)")
        if self.wallet is not None and (self.policy_file is None or self.provider_book is None):
            raise ValueError("a wallet needs policy_file (its standing policy, as `python -m wallet` writes it) and provider_book")
        return self


def load_buyer(path: Path) -> Settings:
    """The settings in a file; paths in it are relative to it. Raises `ConfigError` naming every setting that is wrong."""
    settings = load_settings(path, Settings, "docs/buyer.md shows a buyer.toml")
    base, changes = path.resolve().parent, {}
    if settings.own_meter is not None:
        changes["own_meter"] = settings.own_meter.model_copy(update={"url": line_url(settings.own_meter.url, base)})
    if settings.policy_file is not None:
        changes["policy_file"] = str(base / settings.policy_file)  # type: ignore[assignment]
    return settings.model_copy(update=changes)


def load_policy(settings: Settings) -> Policy | None:
    """The wallet's policy as its owner's command wrote it; None without a wallet. Raises `ConfigError`."""
    import orjson

    from onsite.errors import ConfigError

    if settings.policy_file is None:
        return None
    try:
        return parse_policy(orjson.loads(Path(settings.policy_file).read_bytes()))
    except OSError as error:
        raise ConfigError(f"{settings.policy_file}: {error.strerror}; `python -m wallet policy` writes it") from None
    except (ValueError, Malformed) as error:
        raise ConfigError(f"{settings.policy_file} is not a policy: {error}") from None
