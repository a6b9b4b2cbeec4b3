"""Between protobuf and aliases."""

from bloomery.inference.v1 import ModelAlias, ModelAliasChange
from bloomery_inference.model import Alias, AliasChange
from bloomery_inference.names import ALIAS, VERSION
from bloomery_kit.times import to_timestamp


def alias_message(alias: Alias) -> ModelAlias:
    """An alias as the contract shows it."""
    return ModelAlias(
        name=ALIAS.format(project=alias.project, model=alias.model, alias=alias.id),
        model_version=VERSION.format(project=alias.project, model=alias.model, version=alias.number),
        update_time=to_timestamp(alias.update_time),
        updater=alias.updater,
        reason=alias.reason,
    )


def change_message(change: AliasChange) -> ModelAliasChange:
    """A change of an alias as the contract shows it."""
    return ModelAliasChange(
        sequence=change.sequence,
        from_version=_version(change, change.from_version),
        to_version=_version(change, change.to_version),
        changer=change.changer,
        reason=change.reason,
        create_time=to_timestamp(change.create_time),
    )


def _version(change: AliasChange, number: int) -> str:
    return VERSION.format(project=change.project, model=change.model, version=number) if number else ""
