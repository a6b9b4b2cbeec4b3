"""What this service counts."""

from prometheus_client import Counter

from bloomery_annotation.model import ImportCounts
from bloomery_kit.metrics import REGISTRY

UPLOADS = Counter(
    "bloomery_uploads_total",
    "Uploaded blobs that were completed, by what became of them.",
    ("result",),
    registry=REGISTRY,
)
UPLOAD_BYTES = Counter("bloomery_upload_bytes_total", "Bytes of blobs that were kept.", registry=REGISTRY)
COLLECTED = Counter(
    "bloomery_collected_bytes_total",
    "Bytes of blobs that nothing needed any more and that were removed.",
    registry=REGISTRY,
)
CONFLICTS = Counter(
    "bloomery_annotation_conflicts_total", "Saves that were refused because somebody saved first.", registry=REGISTRY
)
REVISIONS = Counter("bloomery_annotation_revisions_total", "Saved states of annotation sets.", registry=REGISTRY)
IMPORT_ITEMS = Counter(
    "bloomery_import_items_total", "Imported images, by what became of them.", ("result",), registry=REGISTRY
)
IMPORTS = Counter("bloomery_imports_total", "Imports that ended, by their state.", ("state",), registry=REGISTRY)


def count_items(before: ImportCounts, after: ImportCounts) -> None:
    """Add what a batch did to an import."""
    IMPORT_ITEMS.labels("annotated").inc(after.annotated_count - before.annotated_count)
    IMPORT_ITEMS.labels("unchanged").inc(after.unchanged_count - before.unchanged_count)
    IMPORT_ITEMS.labels("failed").inc(after.failed_count - before.failed_count)
