"""What can be configured, read once at an entry point.

Every field can be set in the environment with the prefix ORDINIS_ (ORDINIS_HOME, ORDINIS_PROFILE, ...) or in a file
named .env. Past the entry point, components take plain arguments; nothing reads the environment later.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from ordinis.errors import ConfigurationError


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ORDINIS_", env_file=".env", extra="ignore", frozen=True)

    # where things are kept
    home: Path = Field(Path(".ordinis"), description="folder of everything that Ordinis writes")
    project: Path = Field(Path(), description="folder with prefect.yaml, flows/ and data_contracts/")
    ledger_database: str = Field("", description="URL of the ledger; empty for a SQLite file under `home`")
    records_database: str = Field("", description="URL of the flows' records; empty for a SQLite file under `home`")
    lake: str = Field("", description="folder of the bar store; empty for `home`/lake")

    # what is traded, and how
    account: str = Field("sim", description="name of the account")
    source: Literal["sample"] = Field("sample", description="vendor of bars")
    factors: str = Field(
        "", description="factor returns, Kenneth French's CSV or Parquet, by commas; empty for the factor ETFs"
    )
    shocks: Path | None = Field(None, description="file of shocks that a night puts the book through, beside its own")
    broker: Literal["simulated", "venue"] = Field(
        "simulated", description="simulated: in the actor's own process; venue: a process of its own, over HTTP"
    )
    profile: str = Field("standard", description="profile of the rulebook")
    rulebook: Path | None = Field(None, description="rulebook file; none for the one that ships")
    allocator: str = Field("minimum-variance", description="name, or path/to/file.py:ClassName")
    baseline: str = Field("inverse-volatility", description="allocator that answers when the service does not")
    costs: Literal["calibrated", "fixed"] = Field(
        "calibrated", description="cost model: the newest that was promoted, or the one that it starts from for good"
    )
    opening_cash: Decimal = Field(Decimal(1_000_000), gt=0, description="cash of a new simulated account, in USD")

    # the replayed market of the sample source
    replay_first: date = Field(date(2019, 1, 2), description="first session that is replayed")
    replay_last: date = Field(date(2022, 12, 28), description="last session that is replayed")
    replay_seconds: float = Field(5.0, ge=0, description="pause between two replayed sessions")
    nightly_timeout: float = Field(300.0, gt=0, description="seconds the next session waits for the nightly flow")

    # addresses, all on loopback
    host: str = Field("127.0.0.1", description="address that every server binds to")
    serve_port: int = Field(8000, description="allocation service")
    prefect_port: int = Field(4200, description="Prefect API and UI")
    ray_port: int = Field(6379, description="Ray's control store")
    ray_dashboard_port: int = Field(8265, description="Ray's dashboard")
    ray_client_port: int = Field(10001, description="Ray's door for drivers outside the cluster")
    ray_cpus: int = Field(2, gt=0, description="cores that Ray may hand out on this machine")
    ray_store_mb: int = Field(256, ge=80, description="megabytes of shared memory for Ray's objects")
    venue_port: int = Field(8700, description="simulated broker as a process of its own")
    request_timeout: float = Field(2.0, gt=0, description="seconds the actor waits for an allocation")

    # secrets; never logged, never stored
    token: SecretStr = Field(SecretStr(""), description="bearer token of the allocation service; empty: `home`/token")

    @property
    def ledger_url(self) -> str:
        return self.ledger_database or f"sqlite:///{self.home.absolute() / 'ledger.db'}"

    @property
    def records_url(self) -> str:
        return self.records_database or f"sqlite:///{self.home.absolute() / 'records.db'}"

    @property
    def lake_path(self) -> str:
        return self.lake or str(self.home.absolute() / "lake")

    @property
    def cost_model_path(self) -> Path:
        """The cost model in force for the account, as a promoted calibration published it."""
        return self.home.absolute() / f"cost-model-{self.account}.json"

    @property
    def exposures_path(self) -> Path:
        """The factor exposures in force of what the account holds, as a night's attribution published them."""
        return self.home.absolute() / f"exposures-{self.account}.json"

    @property
    def contracts(self) -> Path:
        return self.project.absolute() / "data_contracts"

    @property
    def kill_flag(self) -> Path:
        """File whose mere existence stops every order, whatever else works."""
        return Whereabouts(home=self.home, account=self.account).kill_flag

    @property
    def serve_url(self) -> str:
        return f"http://{self.host}:{self.serve_port}"

    @property
    def venue_url(self) -> str:
        return f"http://{self.host}:{self.venue_port}"

    @property
    def prefect_url(self) -> str:
        return f"http://{self.host}:{self.prefect_port}/api"

    @property
    def ray_dashboard_url(self) -> str:
        return f"http://{self.host}:{self.ray_dashboard_port}"

    @property
    def ray_token_path(self) -> Path:
        """File with the token that everything in and around the Ray cluster must show."""
        return self.home.absolute() / "ray-token"

    @property
    def prefect_password_path(self) -> Path:
        """File with the `user:password` that the Prefect server asks for, in its page too."""
        return self.home.absolute() / "prefect-password"

    @property
    def ray_address(self) -> str:
        return f"{self.host}:{self.ray_port}"

    def environment(self, *, databases: bool = True) -> dict[str, str]:
        """These settings as the environment of another process on this machine, without the secrets.

        Without `databases`, whose URLs may hold a password, for a process that needs neither ledger nor records.
        """
        named = {name: getattr(self, name) for name in type(self).model_fields}
        told = {name: value for name, value in named.items() if value is not None and not isinstance(value, SecretStr)}
        told |= {name: value.absolute() for name, value in told.items() if isinstance(value, Path)}
        if not databases:
            told = {name: value for name, value in told.items() if not name.endswith("_database")}
        return {f"ORDINIS_{name.upper()}": str(value) for name, value in told.items()}


class Whereabouts(BaseSettings):
    """All that the kill switch's flag needs, read when another setting cannot be."""

    model_config = SettingsConfigDict(env_prefix="ORDINIS_", env_file=".env", extra="ignore", frozen=True)

    home: Path = Path(".ordinis")
    account: str = "sim"

    @property
    def kill_flag(self) -> Path:
        return self.home.absolute() / f"KILLED-{self.account}"


def load() -> Settings:
    """Read the environment; ConfigurationError names the variable that cannot be read."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "ORDINIS_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(name, f"{first['msg']} (it is {first.get('input')!r})") from error
