"""What the access service reads from the environment."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from bloomery_kit.settings import ServiceSettings

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class OidcSettings(BaseModel):
    """The issuer whose tokens are taken, and what of them counts."""

    model_config = ConfigDict(frozen=True)
    issuer: str
    audience: str
    """What a token must be made for."""
    subject_claim: str = "sub"
    groups_claim: str | None = None
    """A list of the groups that a person is in, whose members are `group:NAME`."""
    group_roles: dict[str, Literal["viewer", "annotator", "trainer", "admin"]] = Field(default_factory=dict)
    """Roles in the whole installation by group."""
    leeway_seconds: float = Field(default=30.0, ge=0, le=300)
    """How far the issuer's clock may be off."""

    @field_validator("issuer")
    @classmethod
    def _is_safe(cls, issuer: str) -> str:
        """Keys that come unencrypted may be anybody's."""
        if not is_safe(issuer):
            raise ValueError("must be an https:// URL; http:// is for this machine alone")
        return issuer


class QuotaSettings(BaseModel):
    """What a project may take where nobody has set it for this one; without a number there is no limit."""

    model_config = ConfigDict(frozen=True)
    bytes: int | None = Field(default=None, ge=0)
    images: int | None = Field(default=None, ge=0)
    running_jobs: int | None = Field(default=None, ge=0)
    gpus: int | None = Field(default=None, ge=0)


class AccessSettings(ServiceSettings):
    """Settings of the access service; without `oidc`, tokens of its own are the only ones beside the owner's."""

    oidc: OidcSettings | None = None
    default_quota: QuotaSettings = QuotaSettings()
    audit_days: float = Field(default=400.0, ge=1, description="life of an entry of the audit log")


def is_safe(url: str) -> bool:
    """Whether what a URL answers cannot be changed on the way."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    )
