"""Datasets and their versions."""

from bloomery._aio.dataset import AsyncDataset, AsyncDatasetVersion
from bloomery._fields import DatasetFields, DatasetVersionFields
from bloomery._sync.base import Handle
from bloomery._sync.group import JobGroup
from bloomery._sync.job import Job, ModelVersion
from bloomery._sync.portal import blocking, chained, iterating, listing, wrapping
from bloomery.dataset import v1 as dataset


class DatasetVersion(Handle[dataset.DatasetVersion], DatasetVersionFields):
    """A fixed choice of images with labels and split."""

    refresh = chained(AsyncDatasetVersion.refresh)
    watch = iterating(AsyncDatasetVersion.watch)
    wait = chained(AsyncDatasetVersion.wait)
    items = iterating(AsyncDatasetVersion.items)
    export = blocking(AsyncDatasetVersion.export)
    export_with_losses = blocking(AsyncDatasetVersion.export_with_losses)
    export_losses = blocking(AsyncDatasetVersion.export_losses)
    preview_augmentation = blocking(AsyncDatasetVersion.preview_augmentation)
    train = wrapping(AsyncDatasetVersion.train, Job)
    estimate = blocking(AsyncDatasetVersion.estimate)
    train_grid = wrapping(AsyncDatasetVersion.train_grid, JobGroup)
    train_search = wrapping(AsyncDatasetVersion.train_search, JobGroup)
    train_halving = wrapping(AsyncDatasetVersion.train_halving, JobGroup)
    model_versions = listing(AsyncDatasetVersion.model_versions, ModelVersion)
    delete = blocking(AsyncDatasetVersion.delete)


class Dataset(Handle[dataset.Dataset], DatasetFields):
    """A named line of dataset versions."""

    versions = listing(AsyncDataset.versions, DatasetVersion)
    version = wrapping(AsyncDataset.version, DatasetVersion)
    delete = blocking(AsyncDataset.delete)
