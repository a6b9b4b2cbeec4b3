"""What there is to move: the services, their tables, and what of those stays behind."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from bloomery_access import app as access
from bloomery_access.store import tables as access_tables
from bloomery_annotation import app as annotation
from bloomery_annotation.store import tables as annotation_tables
from bloomery_dataset import app as dataset
from bloomery_dataset.store import tables as dataset_tables
from bloomery_inference import app as inference
from bloomery_inference.store import tables as inference_tables
from bloomery_trainer import app as trainer
from bloomery_trainer.store import tables as trainer_tables


@dataclass(frozen=True)
class Part:
    """A service's tables: its file in the data folder, its schema in PostgreSQL, its migrations."""

    service: str
    schema: str
    metadata: sa.MetaData
    migrations: Path

    @property
    def tables(self) -> list[sa.Table]:
        """What is moved, each table behind those that it refers to."""
        return [table for table in self.metadata.sorted_tables if table.name not in LEFT]


LEFT = frozenset({"serving_replicas"})
"""Processes of the old installation, which are not there any more."""

WRITTEN_AT_START = frozenset({"feeds", "leases", "sequences", "serving_replicas"})
"""What services write into an installation in which nothing was made yet."""

CONSTANT: Mapping[str, Mapping[str, object]] = {"leases": {"holder": "", "expires": 0.0}}
"""Nobody holds a lease any more; its epoch goes on rising, as rows remember who had it."""

PARTS = (
    Part("access", access.SCHEMA, access_tables.METADATA, access.MIGRATIONS),
    Part("annotation", annotation.SCHEMA, annotation_tables.METADATA, annotation.MIGRATIONS),
    Part("dataset", dataset.SCHEMA, dataset_tables.METADATA, dataset.MIGRATIONS),
    Part("trainer", trainer.SCHEMA, trainer_tables.metadata, trainer.MIGRATIONS),
    Part("inference", inference.SCHEMA, inference_tables.METADATA, inference.MIGRATIONS),
)
