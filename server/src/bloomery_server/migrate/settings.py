"""Where an installation is moved to, by the same variables as its services read."""

from pydantic import Field, FilePath, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from bloomery_kit.settings import PREFIX, S3StoreSettings


class MigrationSettings(BaseSettings):
    """The database and the bucket of the new installation; from the environment, whose secrets `ps` does not show."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="ignore", hide_input_in_errors=True
    )
    database_url: str = Field(pattern=r"^postgresql\+asyncpg://")
    database_password_file: FilePath | None = None
    object_store: S3StoreSettings

    @field_validator("object_store", mode="before")
    @classmethod
    def _one_endpoint(cls, given: object) -> object:
        """Signed URLs are none of ours: the endpoint for them need not be said."""
        if isinstance(given, dict) and "endpoint" in given:
            return {"public_endpoint": given["endpoint"], **given}
        return given
