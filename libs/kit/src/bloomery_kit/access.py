"""The access service as every other service reaches it."""

import grpc

from bloomery_kit.clients import neighbour
from bloomery_kit.settings import ServiceSettings

_RETRYABLE = tuple(f"bloomery.access.v1.{name}" for name in ("AccessService", "AuditService", "QuotaService"))


def access_channel(settings: ServiceSettings) -> grpc.aio.Channel | None:
    """A channel to the access service as another service; None where the settings name none."""
    if settings.access_target is None:
        return None
    return neighbour(settings.access_target, settings, retryable=_RETRYABLE)
