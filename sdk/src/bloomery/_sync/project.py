"""Projects: images in, labels, datasets out."""

from bloomery._aio.project import AsyncProject
from bloomery._fields import ProjectFields
from bloomery._sync.base import Handle
from bloomery._sync.data import Asset, Import, Label
from bloomery._sync.dataset import Dataset, DatasetVersion
from bloomery._sync.job import Job
from bloomery._sync.portal import blocking, chained, iterating, listing, wrapping
from bloomery.annotation import v1 as annotation


class Project(Handle[annotation.Project], ProjectFields):
    """A body of images with one list of labels."""

    refresh = chained(AsyncProject.refresh)
    update = chained(AsyncProject.update)
    quota = blocking(AsyncProject.quota)
    set_quota = blocking(AsyncProject.set_quota)
    contents = blocking(AsyncProject.contents)
    holders = blocking(AsyncProject.holders)
    delete = blocking(AsyncProject.delete)
    labels = listing(AsyncProject.labels, Label)
    create_label = wrapping(AsyncProject.create_label, Label)
    assets = listing(AsyncProject.assets, Asset)
    annotation_sets = iterating(AsyncProject.annotation_sets)
    delete_suggestions = blocking(AsyncProject.delete_suggestions)
    imports = listing(AsyncProject.imports, Import)
    import_folder = wrapping(AsyncProject.import_folder, Import)
    plan_import = wrapping(AsyncProject.plan_import, Import)
    import_model = wrapping(AsyncProject.import_model, Job)
    validate = blocking(AsyncProject.validate)
    problems = iterating(AsyncProject.problems)
    datasets = listing(AsyncProject.datasets, Dataset)
    build_dataset = wrapping(AsyncProject.build_dataset, DatasetVersion)
    build_crops = wrapping(AsyncProject.build_crops, DatasetVersion)
