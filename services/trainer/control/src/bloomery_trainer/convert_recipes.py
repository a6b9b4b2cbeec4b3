"""Recipes in the contract's words."""

from collections.abc import Mapping

from google.protobuf import struct_pb2

from bloomery.training.v1 import Parameter as ParameterMessage
from bloomery.training.v1 import Recipe as RecipeMessage
from bloomery.vision.v1 import TaskType
from bloomery_trainer.convert import resources_message
from bloomery_trainer.model import ParameterValue
from bloomery_trainer.recipes import Parameter, Recipe


def recipe_message(recipe: Recipe) -> RecipeMessage:
    """A recipe with its parameters."""
    return RecipeMessage(
        name=recipe.resource_name,
        display_name=recipe.display_name,
        description=recipe.description,
        version=recipe.version,
        license=recipe.license,
        task=TaskType.ValueType(recipe.task),
        parameters=[_parameter(parameter) for parameter in recipe.parameters],
        resources=resources_message(recipe.default_resources),
        bases=recipe.bases,
        kinds=[kind.name for kind in recipe.kinds],
        module=recipe.module,
        forms=recipe.forms,
    )


_TYPES: Mapping[str, "ParameterMessage.Type.ValueType"] = {
    "int": ParameterMessage.TYPE_INT,
    "float": ParameterMessage.TYPE_FLOAT,
    "bool": ParameterMessage.TYPE_BOOL,
    "string": ParameterMessage.TYPE_STRING,
}


def _parameter(parameter: Parameter) -> ParameterMessage:
    return ParameterMessage(
        id=parameter.id,
        type=_TYPES[parameter.type],
        default_value=_value(parameter.default),
        description=parameter.description,
        minimum=parameter.minimum,
        maximum=parameter.maximum,
        choices=parameter.choices,
        group=parameter.group,
        unit=parameter.unit,
        advanced=parameter.advanced,
        kinds=[kind.name for kind in parameter.kinds],
    )


def _value(value: ParameterValue | None) -> struct_pb2.Value | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    return struct_pb2.Value(number_value=float(value))
