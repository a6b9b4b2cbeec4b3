"""The servicer: its methods convert a request, call, and convert the answer. One module a noun."""

from bloomery_annotation.service.annotation_sets import AnnotationSetMethods
from bloomery_annotation.service.assets import AssetMethods
from bloomery_annotation.service.base import Parts
from bloomery_annotation.service.imports import ImportMethods
from bloomery_annotation.service.labels import LabelMethods
from bloomery_annotation.service.problems import ProblemMethods
from bloomery_annotation.service.projects import ProjectMethods
from bloomery_annotation.service.suggestions import SuggestionMethods
from bloomery_annotation.service.uploads import UploadMethods

__all__ = ["AnnotationService", "Parts"]


class AnnotationService(
    ProjectMethods,
    LabelMethods,
    UploadMethods,
    AssetMethods,
    AnnotationSetMethods,
    SuggestionMethods,
    ProblemMethods,
    ImportMethods,
):
    """Everything that `bloomery.annotation.v1.AnnotationService` promises."""
