"""Aliases of model versions."""

from bloomery._aio.alias import AsyncModelAlias
from bloomery._fields import ModelAliasFields
from bloomery._sync.base import Handle
from bloomery._sync.portal import blocking, chained
from bloomery.inference import v1 as inference


class ModelAlias(Handle[inference.ModelAlias], ModelAliasFields):
    """A name for one version of a model, which may be moved to another one."""

    refresh = chained(AsyncModelAlias.refresh)
    remove = blocking(AsyncModelAlias.remove)
