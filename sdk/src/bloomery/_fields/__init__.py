"""What handles show of their messages; the blocking and the asynchronous handle of a resource share one class here."""

from bloomery._fields.base import Fields, Named, task_name
from bloomery._fields.data import (
    AssetFields,
    DatasetFields,
    DatasetVersionFields,
    ImportFields,
    LabelFields,
    ProjectFields,
)
from bloomery._fields.serving import DeploymentFields
from bloomery._fields.work import (
    JobFields,
    JobGroupFields,
    ModelAliasFields,
    ModelFields,
    ModelVariantFields,
    ModelVersionFields,
    RecipeFields,
)

__all__ = [
    "AssetFields",
    "DatasetFields",
    "DatasetVersionFields",
    "DeploymentFields",
    "Fields",
    "ImportFields",
    "JobFields",
    "JobGroupFields",
    "LabelFields",
    "ModelAliasFields",
    "ModelFields",
    "ModelVariantFields",
    "ModelVersionFields",
    "Named",
    "ProjectFields",
    "RecipeFields",
    "task_name",
]
