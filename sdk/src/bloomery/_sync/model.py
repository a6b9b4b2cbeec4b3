"""Models."""

from bloomery._aio.model import AsyncModel
from bloomery._fields import ModelFields
from bloomery._sync.alias import ModelAlias
from bloomery._sync.base import Handle
from bloomery._sync.job import ModelVersion
from bloomery._sync.portal import blocking, listing, wrapping
from bloomery.inference import v1 as inference


class Model(Handle[inference.Model], ModelFields):
    """A named line of model versions."""

    versions = listing(AsyncModel.versions, ModelVersion)
    version = wrapping(AsyncModel.version, ModelVersion)
    aliases = listing(AsyncModel.aliases, ModelAlias)
    deletion = blocking(AsyncModel.deletion)
    delete = blocking(AsyncModel.delete)
