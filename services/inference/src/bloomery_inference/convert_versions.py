"""What goes with versions, as the contract shows it."""

from bloomery.inference.v1 import ModelDeletion
from bloomery_inference.convert import variant_name, version_name
from bloomery_inference.model import Deletion
from bloomery_inference.names import ALIAS


def deletion_message(deletion: Deletion) -> ModelDeletion:
    """What goes with a model or a version as the contract shows it."""
    versions, files = deletion.versions, deletion.files
    return ModelDeletion(
        model_versions=map(version_name, versions),
        model_variants=[variant_name(variant) for version in versions for variant in version.variants],
        model_aliases=[
            ALIAS.format(project=version.project, model=version.model, alias=alias)
            for version in versions
            for alias in version.aliases
        ],
        evaluation_count=deletion.evaluations,
        file_count=len(files),
        total_bytes=sum(one.size_bytes for one in files),
        active_jobs=deletion.jobs,
        deployments=deletion.deployments,
    )
