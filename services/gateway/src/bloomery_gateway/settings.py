"""What the gateway reads from the environment."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from bloomery_kit.settings import PREFIX, FolderStoreSettings


class GatewaySettings(BaseSettings):
    """Settings of the gateway. `base_url` of the object store is where clients reach this gateway."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="ignore", hide_input_in_errors=True
    )
    object_store: FolderStoreSettings
    bind: str = "0.0.0.0"  # noqa: S104
    http_port: int = Field(default=8080, ge=0, le=65535)
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
