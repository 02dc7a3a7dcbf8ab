"""The service's settings: one file, `service.toml`, read through pydantic-settings. Relative paths are relative to that file.

Every value has a unit in its name. Secrets are never in this file: they are in files of their own, mode 0600, named here.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from .errors import Misconfigured

HexAddress = str


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=False, frozen=True)


class Keys(_Section):
    """Files, one a role. `payee_file` absent: the sender is also the payee. `till_file` is opened only where there are rails.

    A payee whose key is here gets its sessions closed as soon as they are claimed, and withdraws its offers by itself; without it the
    money comes all the same, after the payer's request and the delay of the terms.
    """

    passphrase_file: Path = Path("passphrase")
    service_file: Path = Path("keys/service.json")
    control_file: Path = Path("keys/control.json")
    sender_file: Path = Path("keys/sender.json")
    payee_file: Path | None = None
    further_payee_files: list[Path] = Field(default=[], max_length=100, description="accounts of further operators that are paid")
    till_file: Path = Path("keys/till.json")
    operator_token_file: Path = Path("operator.token")


class Chain(_Section):
    rpc_url: str = "http://127.0.0.1:8545"
    deployment_file: Path = Path("deployment.json")
    confirmations: int = Field(default=2, ge=0, le=1_000, description="blocks on top of a block before money moves in the books")
    poll_seconds: float = Field(default=1.0, ge=0.05, le=60)


class Terms(_Section):
    """What quotes put into the terms of new sessions."""

    quote_valid_seconds: int = Field(default=600, ge=30, le=86_400)
    session_seconds: int = Field(default=31 * 86_400, ge=300, le=62 * 86_400, description="latestEndS lies this far ahead")
    stop_grace_seconds: int = Field(default=300, ge=10)
    close_delay_seconds: int = Field(default=3_600, ge=10, le=7 * 86_400)
    close_delay_blocks: int = Field(default=30, ge=0, le=1_000)
    start_within_seconds: int = Field(default=900, ge=5, description="from open to measured power; then the session ends as never started")
    payment_credit_micro: int = Field(default=200_000, ge=0, description="most use that may stand unsigned, payment mode")
    payment_credit_milliwatt_hours: int = Field(default=1_000_000, ge=0)


class Settlement(_Section):
    epoch_seconds: int = Field(default=300, ge=1, le=86_400)
    claim_amount_micro: int = Field(default=1_000_000, ge=1, description="a running session is claimed when this much is unclaimed")
    claim_age_seconds: int = Field(default=86_400, ge=1, description="… or when its oldest unclaimed charge is this old")
    claim_batch_rows: int = Field(default=100, ge=1, le=200)
    payout_amount_micro: int = Field(default=10_000_000, ge=1, description="the payee's free balance is withdrawn from this much on")
    payout_to: HexAddress | None = Field(default=None, description="where payouts go; absent: they stay in the escrow's free balance")
    reconcile_seconds: int = Field(default=60, ge=1)
    ruling_wait_seconds: int = Field(default=86_400, ge=0, le=7 * 86_400, description="how long a disputed session waits for a ruling")


class Blind(_Section):
    """How far a session goes on while no fresh final block is seen for stopGraceS. Default: not at all."""

    milliwatt_hours: int = Field(default=0, ge=0)
    seconds: int = Field(default=0, ge=0)
    new_sessions_micro: int = Field(default=0, ge=0, le=2**53 - 1, description="credit for new sessions while the chain stands still")


class Supply(_Section):
    """What operators order by hand."""

    disconnect_each_seconds: int = Field(default=1, ge=0, le=600, description="between two points of one order to more than 20")


class Mail(_Section):
    host: str
    port: int = Field(default=587, ge=1, le=65_535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password_file: Path | None = None
    sender: str
    to: list[str] = Field(min_length=1, max_length=50)


class Webhook(_Section):
    url: str
    secret_file: Path


class Alarms(_Section):
    mail: Mail | None = None
    webhook: Webhook | None = None


class RailSettings(_Section):
    """A payment provider's account, over which money comes in and goes back."""

    kind: Literal["stripe"] = "stripe"
    url: str = Field(default="https://api.stripe.com", pattern=r"^(https://[^/\s@]+|http://(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?)$")
    api_key_file: Path
    webhook_secret_file: Path = Field(description="one secret a line: two while it is rolled")
    currency: str = Field(default="eur", pattern=r"^[a-z]{3}$")
    minor_unit_micro: int = Field(default=10_000, ge=1, le=10**9, description="micro-units in its smallest unit: a cent is 10,000")
    least_deposit_micro: int = Field(default=1_000_000, ge=1)
    most_deposit_micro: int = Field(default=1_000_000_000, ge=1, le=2**53 - 1)
    return_url: str = Field(default="https://example.invalid/paid", pattern=r"^https?://[^\s]+$", description="where the payer goes then")
    poll_seconds: float = Field(default=60, ge=0.1, le=3_600, description="the rail is read so often also when no event comes")


RailName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,19}$")]


class Settings(BaseSettings):
    """All settings; what is absent has the default shown by `python -m backend init`."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix="WATTPROOF_", env_nested_delimiter="__")

    base: Path = Field(default=Path(), exclude=True)
    listen: str = Field(default="127.0.0.1:8400", pattern=r"^[^\s]+:\d{1,5}$", description="loopback unless you say otherwise")
    public_url: str = Field(default="", pattern=r"^(https?://[^/\s]+)?$", description="how browsers reach the console; empty: by `listen`")
    database_url: str = Field(default="", description="empty: SQLite in state_dir; postgresql+psycopg://… for several processes")
    state_dir: Path = Path("state")
    operator_name: str = Field(default="operator", min_length=1, max_length=100)
    payee: HexAddress | None = Field(default=None, description="absent: the address of keys.payee_file, else of keys.sender_file")
    restore_wait_seconds: int = Field(
        default=3_600, ge=0, description="how long a restored backup waits for agents with unsettled sessions"
    )
    log_format: Literal["json", "console"] = "json"
    keys: Keys = Keys()
    chain: Chain = Chain()
    terms: Terms = Terms()
    settlement: Settlement = Settlement()
    blind: Blind = Blind()
    supply: Supply = Supply()
    alarms: Alarms = Alarms()
    rails: dict[RailName, RailSettings] = Field(default={}, description="[rails.NAME]: payment providers")

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource, file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        return (env_settings, init_settings)  # the file's values arrive as init settings; the environment stands above them

    def path(self, value: Path) -> Path:
        """A path of the settings, made absolute."""
        return value if value.is_absolute() else self.base / value

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.path(self.state_dir) / 'service.db'}"

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0]

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])


def load_settings(path: Path) -> Settings:
    """The settings in a TOML file. Raises `Misconfigured` naming the first setting that is not as it must be."""
    if not path.exists():
        raise Misconfigured(f"{path} does not exist; `python -m backend init --dir {path.parent}` makes one", "--config")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}", "--config") from None
    except ValueError as error:  # the reader's own complaint names line and column
        raise Misconfigured(f"{path} is not TOML: {error}", "--config") from None
    if "base" in document:
        raise Misconfigured(f"is not a setting (in {path}): paths are relative to the file", "base")
    try:
        return Settings(base=path.resolve().parent, **document)
    except ValidationError as error:
        first = error.errors()[0]
        raise Misconfigured(f"{first['msg']} (in {path} or the environment)", ".".join(str(part) for part in first["loc"])) from None
