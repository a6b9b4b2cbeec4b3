"""Labels, images and imports."""

from collections.abc import Mapping

from bloomery._aio.data import AsyncAsset, AsyncImport, AsyncLabel
from bloomery._fields import AssetFields, ImportFields, LabelFields
from bloomery._sync.base import Handle
from bloomery._sync.dataset import DatasetVersion
from bloomery._sync.portal import blocking, chained, iterating, listing
from bloomery.annotation import v1 as annotation


class Label(Handle[annotation.Label], LabelFields):
    """A class of things that shapes carry."""

    refresh = chained(AsyncLabel.refresh)
    update = chained(AsyncLabel.update)
    delete = blocking(AsyncLabel.delete)


class Asset(Handle[annotation.Asset], AssetFields):
    """An image."""

    annotations = blocking(AsyncAsset.annotations)
    annotation_set = blocking(AsyncAsset.annotation_set)
    save_annotations = blocking(AsyncAsset.save_annotations)
    accept_suggestions = blocking(AsyncAsset.accept_suggestions)
    reject_suggestions = blocking(AsyncAsset.reject_suggestions)
    update = chained(AsyncAsset.update)
    download = blocking(AsyncAsset.download)
    dataset_versions = listing(AsyncAsset.dataset_versions, DatasetVersion)
    delete = blocking(AsyncAsset.delete)


class Import(Handle[annotation.Import], ImportFields):
    """The reading of one labelled folder."""

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many files of the folder were not sent, by ending (such as ".heic"); known to who sent it only."""
        found: Mapping[str, int] = self._twin.skipped
        return found

    refresh = chained(AsyncImport.refresh)
    watch = iterating(AsyncImport.watch)
    wait = chained(AsyncImport.wait)
    cancel = chained(AsyncImport.cancel)
