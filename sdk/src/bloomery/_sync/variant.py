"""Variants of model versions."""

from bloomery._aio.variant import AsyncModelVariant
from bloomery._fields import ModelVariantFields
from bloomery._sync.base import Handle
from bloomery._sync.portal import blocking, chained
from bloomery.inference import v1 as inference


class ModelVariant(Handle[inference.ModelVariant], ModelVariantFields):
    """A form of a model version for one runtime, precision and device."""

    refresh = chained(AsyncModelVariant.refresh)
    wait = chained(AsyncModelVariant.wait)
    delete = blocking(AsyncModelVariant.delete)
