"""Names of resources: `projects/p/datasets/d/versions/3`."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from bloomery.errors import InvalidArgument

ANY_PROJECT = "projects/-"
ORIGINAL = "checkpoint"
"""What people call a model version itself where a variant may be named."""


def id_of(name: str) -> str:
    """The last part of a name."""
    return name.rpartition("/")[2]


def parent_of(name: str, levels: int = 1) -> str:
    """The name of what a resource hangs under; one level is a collection and an id."""
    return "/".join(name.split("/")[: -2 * levels])


def short(name: str) -> str:
    """As people say it: `d@3` for versions, `d@3/onnx-int8` for variants of models, the last id for all else."""
    parts = name.split("/")
    match parts[-4:]:
        case [_, parent, "versions", version]:
            return f"{parent}@{version}"
        case ["versions", _, "variants", variant]:
            return f"{short(parent_of(name))}/{variant}"
        case _:
            return parts[-1]


def enumerated(texts: Sequence[str], most: int = 10) -> str:
    """Names for people to read: the first `most`, and how many more."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def counted(count: int, noun: str) -> str:
    """A number of things for people to read."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size(count: int) -> str:
    """A number of bytes as people read it."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"


def other_projects(name: str, there: Sequence[str]) -> str:
    """What people may have meant by the name of a project that does not exist."""
    ids = [id_of(one) for one in there]
    if close := get_close_matches(id_of(name), ids):
        return f"did you mean {' or '.join(close)}?"
    return f"the projects are {enumerated(ids)}" if ids else "no project exists; `bloomery project create ID` makes one"


def project_name(text: str) -> str:
    """The full name of a project given by it or by its id."""
    return text if text.startswith("projects/") else f"projects/{text}"


@dataclass(frozen=True)
class Kind:
    """A kind of resource below projects, as people name it."""

    title: str
    collection: str
    versioned: bool = False

    @property
    def command(self) -> str:
        """The noun of the command line."""
        return {"datasets": "dataset", "jobGroups": "groups", "deployments": "deploy"}.get(
            self.collection, self.collection
        )

    def matches(self, name: str) -> bool:
        """Whether a full name is of this kind."""
        parts = name.split("/")
        collections = ["projects", self.collection, *(["versions"] if self.versioned else [])]
        return parts[::2] == collections and all(parts[1::2]) and len(parts) == 2 * len(collections)

    def below(self, project: str, text: str) -> str:
        """The full name of what `text` (`id`, or `id@version`, the latest by default) means in a project."""
        identifier, _, version = text.partition("@")
        name = f"{project}/{self.collection}/{identifier}"
        return f"{name}/versions/{version or 'latest'}" if self.versioned else name

    def check(self, text: str) -> None:
        """Refuse what cannot be a short form.

        Raises:
            InvalidArgument: says which forms there are.
        """
        identifier, at, version = text.partition("@")
        if identifier and "/" not in text and (self.versioned or not at) and (version or not at):
            return
        forms = "ID@VERSION or ID (the latest)" if self.versioned else "ID"
        example = self.below("projects/PROJECT", "ID@VERSION" if self.versioned else "ID")
        article = "an" if self.title[0] in "aeiou" else "a"
        raise InvalidArgument(f"{text!r} does not name {article} {self.title}", hint=f"give {forms}, or {example}")


DATASET = Kind("dataset", "datasets")
DATASET_VERSION = Kind("dataset version", "datasets", versioned=True)
JOB = Kind("job", "jobs")
JOB_GROUP = Kind("group of jobs", "jobGroups")
MODEL = Kind("model", "models")
MODEL_VERSION = Kind("model version", "models", versioned=True)
LABEL = Kind("label", "labels")
IMPORT = Kind("import", "imports")
ASSET = Kind("asset", "assets")
DEPLOYMENT = Kind("deployment", "deployments")
