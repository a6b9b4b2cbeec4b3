"""Models, their versions and variants."""

from typing import TYPE_CHECKING

from bloomery._aio.job import AsyncJob
from bloomery._aio.model import AsyncModel, AsyncModelVariant, AsyncModelVersion
from bloomery._fields import ModelFields, ModelVariantFields, ModelVersionFields
from bloomery._sync.base import Handle
from bloomery._sync.portal import Portal, blocking, chained, listing, wrapping
from bloomery.inference import v1 as inference

if TYPE_CHECKING:
    from bloomery._sync.job import Job


def _job(portal: Portal, twin: AsyncJob) -> "Job":
    from bloomery._sync.job import Job

    return Job(portal, twin)


class ModelVariant(Handle[inference.ModelVariant], ModelVariantFields):
    """A form of a model version for one runtime, precision and device."""

    refresh = chained(AsyncModelVariant.refresh)
    wait = chained(AsyncModelVariant.wait)
    delete = blocking(AsyncModelVariant.delete)


class ModelVersion(Handle[inference.ModelVersion], ModelVersionFields):
    """A trained model with the proof of where it came from."""

    refresh = chained(AsyncModelVersion.refresh)
    variants = listing(AsyncModelVersion.variants, ModelVariant)
    optimize = wrapping(AsyncModelVersion.optimize, ModelVariant)
    predict = blocking(AsyncModelVersion.predict)
    evaluate = wrapping(AsyncModelVersion.evaluate, _job)
    predict_dataset = wrapping(AsyncModelVersion.predict_dataset, _job)
    download = blocking(AsyncModelVersion.download)
    delete = blocking(AsyncModelVersion.delete)


class Model(Handle[inference.Model], ModelFields):
    """A named line of model versions."""

    versions = listing(AsyncModel.versions, ModelVersion)
    version = wrapping(AsyncModel.version, ModelVersion)
