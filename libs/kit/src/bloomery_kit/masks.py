"""Update masks."""

from collections.abc import Set as AbstractSet

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from bloomery_kit.errors import Violations


def apply_mask(
    mask: FieldMask, resource: Message, updatable: AbstractSet[str], field: str = "update_mask"
) -> list[str]:
    """The fields of `resource` that an update changes, each one of `updatable`, in the order asked for.

    An empty mask means every updatable field that `resource` has set, `*` every updatable one. Raise InvalidArgument
    naming each path that is unknown or not updatable.
    """
    if not mask.paths:
        return [descriptor.name for descriptor, _ in resource.ListFields() if descriptor.name in updatable]
    if list(mask.paths) == ["*"]:
        return [descriptor.name for descriptor in resource.DESCRIPTOR.fields if descriptor.name in updatable]
    violations = Violations()
    for path in mask.paths:
        if path not in updatable:
            known = path in resource.DESCRIPTOR.fields_by_name
            problem = "cannot be updated" if known else "is not a field"
            violations.add(field, f"{path} {problem}; use some of {', '.join(sorted(updatable))}")
    violations.raise_if_any()
    return list(dict.fromkeys(mask.paths))
