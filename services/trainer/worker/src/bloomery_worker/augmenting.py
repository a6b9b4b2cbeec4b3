"""The augmentation policy of a training: read from its parameters, and kept with its result."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bloomery_augment.policy import Policy, PolicyError
from bloomery_augment.rules import effective
from bloomery_worker.failures import ConfigError
from bloomery_worker.messages import FileNote, Value

if TYPE_CHECKING:
    from bloomery_augment.pipeline import Pipeline

PARAMETER = "augment"
_FILE = "augmentation.json"


def policy_of(parameters: Mapping[str, Value]) -> Policy | None:
    """The policy that a job's parameters name; None for none.

    Raises:
        ConfigError: there is no such policy; says all that is wrong with it.
    """
    text = str(parameters.get(PARAMETER, "")).strip()
    try:
        return Policy.parse(text) if text else None
    except PolicyError as error:
        hint = "`bloomery augment show` explains policies"
        raise ConfigError(f"the parameter {PARAMETER} is no augmentation policy: {error}", hint=hint) from None


def pipeline_of(parameters: Mapping[str, Value]) -> "Pipeline | None":
    """What changes the images of a job by its policy; None without one. Raises ConfigError."""
    policy = policy_of(parameters)
    if policy is None:
        return None
    # Loading it takes seconds.
    from bloomery_augment.pipeline import Pipeline

    return Pipeline(policy)


def keep(policy: Policy | None, folder: Path) -> tuple[FileNote, ...]:
    """Writes what the images were changed by into a folder, and says how to publish it; nothing without a policy."""
    if policy is None:
        return ()
    path = folder / _FILE
    path.write_text(json.dumps(effective(policy), indent=1), encoding="utf-8")
    return (FileNote(path=str(path), role="augmentation", file_name=_FILE, media_type="application/json"),)


def told(policy: Policy | None) -> Mapping[str, object]:
    """The policy for the details of a result; nothing without one."""
    return {"augmentation": str(policy)} if policy else {}
