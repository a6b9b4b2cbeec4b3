"""What goes on with files, annotations and dataset versions."""

from dashboards.grafana import Panel, Query, Row
from dashboards.queries import ninety, rate

DATA = Row(
    "Data",
    (
        Panel(
            "Uploads",
            "Blobs that were completed, by what became of them.",
            "cps",
            (Query(rate("bloomery_uploads_total", "result"), "{{result}}"),),
        ),
        Panel(
            "Bytes of uploads",
            "Kept, and collected because nothing needs them any more.",
            "Bps",
            (
                Query(rate("bloomery_upload_bytes_total"), "kept"),
                Query(rate("bloomery_collected_bytes_total"), "collected"),
            ),
        ),
        Panel(
            "Imports",
            "Images by what became of them; imports that ended in an hour.",
            "none",
            (
                Query(rate("bloomery_import_items_total", "result"), "images a second: {{result}}"),
                Query("sum by (state) (increase(bloomery_imports_total{NS}[1h]))", "imports: {{state}}"),
            ),
        ),
        Panel(
            "Annotations",
            "Saved states, and saves that were refused because somebody saved first.",
            "cps",
            (
                Query(rate("bloomery_annotation_revisions_total"), "saved"),
                Query(rate("bloomery_annotation_conflicts_total"), "refused"),
            ),
        ),
        Panel(
            "Builds of dataset versions",
            "In an hour, by outcome; and exports.",
            "none",
            (
                Query("sum by (outcome) (increase(bloomery_dataset_builds_total{NS}[1h]))", "{{outcome}}"),
                Query("sum by (format) (increase(bloomery_dataset_exports_total{NS}[1h]))", "export: {{format}}"),
            ),
        ),
        Panel(
            "Time of builds",
            "From a claim to a READY version, over six hours; and images that are written a second.",
            "none",
            (
                Query(ninety("bloomery_dataset_build_seconds", over="[6h]"), "seconds p90"),
                Query(rate("bloomery_dataset_images_total"), "images a second"),
            ),
        ),
    ),
)
