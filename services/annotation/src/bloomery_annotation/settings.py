"""What the annotation service reads from the environment."""

from pydantic import Field

from bloomery_kit.settings import ServiceSettings

_GIB = 1 << 30


class AnnotationSettings(ServiceSettings):
    """The settings of every service, and this one's limits; sizes in bytes, times in seconds."""

    max_blob_bytes: int = Field(default=5 * _GIB, ge=1)
    """The largest file that is taken; what S3 takes in one PUT."""
    reserved_bytes: int = Field(default=_GIB, ge=0)
    """Space that uploads leave free on the disk of a blob folder."""
    url_seconds: int = Field(default=3600, ge=60, le=7 * 24 * 3600)
    """How long signed URLs hold."""
    uploads_at_once: int = Field(default=16, ge=1)
    """Uploads and bundles that are checked at the same time by one process, up to 8 MiB of memory each."""
    import_lease_seconds: float = Field(default=10, gt=0)
    """An import whose runner is silent for that long is taken over by another replica."""
    import_poll_seconds: float = Field(default=2, gt=0)
    """How often a replica looks for imports that another one accepted."""
