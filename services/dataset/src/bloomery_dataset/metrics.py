"""What this service counts."""

from prometheus_client import Counter, Histogram

from bloomery_dataset.model import ExportFormat
from bloomery_kit.metrics import REGISTRY

BUILDS = Counter(
    "bloomery_dataset_builds_total",
    "Builds that a builder let go of: ready, reused, failed, interrupted (to be taken up again) or lost to another.",
    ("outcome",),
    registry=REGISTRY,
)
BUILD_SECONDS = Histogram(
    "bloomery_dataset_build_seconds",
    "Time from a claim to a READY version.",
    buckets=(0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200),
    registry=REGISTRY,
)
BUILD_IMAGES = Counter("bloomery_dataset_images_total", "Images written into versions.", registry=REGISTRY)
EXPORTS = Counter("bloomery_dataset_exports_total", "Exports made, by format.", ("format",), registry=REGISTRY)
for _format in ExportFormat:
    EXPORTS.labels(_format)
