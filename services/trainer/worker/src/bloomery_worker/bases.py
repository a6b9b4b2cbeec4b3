"""Base weights: what training starts from, and the folder in which people keep them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bloomery_worker.failures import ConfigError

SCRATCH = "scratch"


@dataclass(frozen=True, slots=True)
class Base:
    """What training starts from.

    Attributes:
        file: with the weights; None for random ones.
        name: as given, or "scratch".
        digest: of the file; empty for random weights.
        license: of the weights, where it is known.
    """

    file: Path | None
    name: str
    digest: str = ""
    license: str = ""

    def record(self) -> dict[str, object]:
        """For the result's details."""
        return {"name": self.name, "digest": self.digest, "license": self.license}


def in_folder(patterns: Sequence[str], wanted: str) -> Path | None:
    """The file of BLOOMERY_WEIGHTS that fits the first pattern that any fits. Raises ConfigError where several do."""
    root = os.environ.get("BLOOMERY_WEIGHTS")
    if not root:
        return None
    folder = Path(root).resolve()
    for pattern in patterns:
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
        if len(found) > 1:
            listed = ", ".join(path.name for path in found)
            message = f"several files in BLOOMERY_WEIGHTS could be {wanted}: {listed}"
            raise ConfigError(message, hint=f"rename one to {wanted}{found[0].suffix}")
        if found:
            return found[0]
    return None


def no_base(name: str) -> ConfigError:
    """That weights cannot be had."""
    return ConfigError(
        f"no base weights: {name} is neither in the folder of BLOOMERY_WEIGHTS nor could it be downloaded",
        hint="start the server with BLOOMERY_WEIGHTS naming a folder that has it, choose another base, or choose"
        f" the base {SCRATCH}: random weights, which need many more images and epochs",
    )
