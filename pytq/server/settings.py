"""What can be set of a server: by option, by environment variable, or left as it is."""

from pathlib import Path
from typing import Annotated

from platformdirs import user_data_path
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pytq.schema import limits


def _default_data_dir() -> Path:
    return user_data_path("pytq") / "server"


class ServerSettings(BaseSettings):
    """The server's settings; each is read from `PYTQ_…` unless given."""

    model_config = SettingsConfigDict(env_prefix="PYTQ_", extra="ignore", populate_by_name=True)

    host: str = "127.0.0.1"
    """Where to listen."""

    port: Annotated[int, Field(ge=0, le=65535)] = 5000
    """0 takes any free port and says which."""

    data_dir: Path = Field(default_factory=_default_data_dir)
    """Where the embedded database lives."""

    database_uri: str | None = Field(default=None, validation_alias="SQLALCHEMY_DATABASE_URI")
    """A PostgreSQL (or SQLite) URI; the embedded SQLite below `data_dir` when left out."""

    tls_cert: Path | None = None
    """The server's certificate with its chain, PEM; read again when it changes and on SIGHUP."""

    tls_key: Path | None = None
    """The certificate's key, PEM, without a passphrase."""

    admin_token_file: Path | None = None
    """A file with one more admin's token, of your own making: for a first start in a container."""

    insecure: bool = False
    """Ask nobody for a token: anybody who can connect may then run commands on the workers."""

    requests_per_second: Annotated[float, Field(ge=1)] = limits.REQUESTS_PER_SECOND
    """How many requests one token may make, in the long run."""

    connections_per_address: Annotated[int, Field(ge=1)] = limits.CONNECTIONS_PER_ADDRESS
    """How many connections one address may hold; a proxy in front counts as one address."""

    reached_at: str | None = None
    """Where this machine itself, and workers it recruits, reach this server: a host:port or URL.
    Found out when left out; with a certificate, say the name that is in it."""

    allowed_hosts: str = ""
    """More host names, comma-separated, that this server may be known by."""

    lease_seconds: Annotated[float, Field(ge=10, le=30 * 24 * 3600)] = limits.LEASE_SECONDS
    """How long a worker may be silent before its executions are handed on."""

    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""

    @field_validator("log_level")
    @classmethod
    def _is_a_level(cls, value: str) -> str:
        if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
        return value.upper()

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in {"127.0.0.1", "::1", "localhost"} or self.host.startswith("127.")

    @property
    def host_names(self) -> list[str]:
        """The names in `allowed_hosts`."""
        return [name.strip() for name in self.allowed_hosts.split(",") if name.strip()]
