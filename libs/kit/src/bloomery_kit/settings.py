"""Settings from the environment: every name starts with BLOOMERY_, and a missing one is named at start."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FilePath, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "BLOOMERY_"
_DELIMITER = "__"


def _either(given: Path | None, others: ValidationInfo) -> Path | None:
    """A secret is a value, or the name of a file that holds it."""
    assert others.field_name is not None
    name = others.field_name.removesuffix("_file")
    if (given is None) == (others.data.get(name, "wrong") is None):
        raise ValueError(f"set it or {name.upper()}, one of the two")
    return given


class FolderStoreSettings(BaseModel):
    """Blobs in a directory, behind URLs that the gateway at `base_url` serves."""

    model_config = ConfigDict(frozen=True)
    kind: Literal["folder"] = "folder"
    root: Path
    base_url: str
    signing_key: SecretStr


class S3StoreSettings(BaseModel):
    """Blobs in a bucket; I/O uses `endpoint`, URLs are signed for `public_endpoint`. Both are URLs without a path."""

    model_config = ConfigDict(frozen=True)
    kind: Literal["s3"] = "s3"
    endpoint: str
    public_endpoint: str
    bucket: str
    access_key: SecretStr | None = None
    access_key_file: FilePath | None = Field(default=None, validate_default=True)
    secret_key: SecretStr | None = None
    secret_key_file: FilePath | None = Field(default=None, validate_default=True)
    region: str = "us-east-1"
    ca_certs: Path | None = None
    _one = field_validator("access_key_file", "secret_key_file")(_either)


ObjectStoreSettings = Annotated[FolderStoreSettings | S3StoreSettings, Field(discriminator="kind")]


class TracingSettings(BaseModel):
    """Where traces go: a collector's OTLP endpoint for gRPC, `http://HOST:4317` or `https://...`."""

    model_config = ConfigDict(frozen=True)
    endpoint: str = Field(pattern="^https?://[^/]+$")
    ratio: float = Field(default=1.0, ge=0, le=1)
    """Of the traces that begin here; whether one that begins elsewhere is kept is said there."""
    ca_certs: FilePath | None = None


class ProcessSettings(BaseSettings):
    """What every process may be told."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=_DELIMITER, frozen=True, extra="ignore", hide_input_in_errors=True
    )
    tracing: TracingSettings | None = None


class NeighbourSettings(ProcessSettings):
    """What every process needs that calls the services, or is called as one of them."""

    token: SecretStr | None = None
    token_file: FilePath | None = Field(default=None, validate_default=True)
    neighbour_ca: FilePath | None = None
    _one = field_validator("token_file")(_either)


class ServiceSettings(NeighbourSettings):
    """What every service needs; a service adds its own fields in a subclass.

    Nested values join their names with two underscores: BLOOMERY_OBJECT_STORE__KIND, BLOOMERY_OBJECT_STORE__BUCKET.
    """

    database_url: str
    database_password_file: FilePath | None = None
    object_store: ObjectStoreSettings
    access_target: str | None = None
    """The service access; without it only the owner's token is known."""
    bind: str = "0.0.0.0"  # noqa: S104
    port: int = Field(default=50051, ge=0, le=65535)
    health_port: int | None = Field(default=None, ge=0, le=65535)
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    reflection: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = Field(default=None, validate_default=True)

    @field_validator("tls_key")
    @classmethod
    def _both_or_neither(cls, key: Path | None, others: ValidationInfo) -> Path | None:
        """Half of the pair is a typing error, and serving plaintext because of one would show nowhere."""
        if (key is None) != (others.data.get("tls_certificate") is None):
            raise ValueError(f"set it together with {PREFIX}TLS_CERTIFICATE, or neither")
        return key


S = TypeVar("S", bound=BaseSettings)


def load_settings(kind: type[S]) -> S:
    """Read `kind` from the environment. Exit with the names of all variables that are missing or wrong."""
    try:
        return kind()
    except ValidationError as error:
        lines = [f"  {_variable(problem['loc'])}: {problem['msg']}" for problem in error.errors(include_input=False)]
        raise SystemExit("\n".join(["wrong settings:", *lines])) from None


_CHOICES = ("folder", "s3", "process", "kubernetes")
"""Values of `kind`, which a location names where it has passed through a choice."""


def _variable(location: tuple[int | str, ...]) -> str:
    parts = [str(part) for part in location if part not in _CHOICES]
    return PREFIX + _DELIMITER.join(parts).upper()
