"""Dataset configurations in YAML, as Ultralytics and others write them, and the key files of Darknet (`obj.data`)."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping

import yaml

from bloomery_vision.formats.model import FormatError
from bloomery_vision.formats.names import base_of, split_suffix
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.texts import read_lines, read_text

Config = Mapping[str, object]
"""What a configuration says. Every scalar is text as it stands in the file: `no` and `01` are names, not values."""

_SAYS_NAMES = re.compile(r"""^[^\S\n]*(\{\s*)?["']?(names|nc)["']?\s*:""", re.MULTILINE)
_DATA_SET = frozenset({"path", "train", "val", "valid", "validation", "test", "kpt_shape"})
"""What configurations of data sets say beside names, and those of models do not."""

_HINT = "write valid YAML"
_TEXT_TAGS = re.compile(r"tag:yaml\.org,2002:(bool|float|int|null|str|timestamp|python/(str|unicode))")
"""Of scalars that mean the text that stands there."""


class _Loader(yaml.BaseLoader):
    """One without types, which knows no tags either, so that those of other programs do no harm."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        """Raises ConstructorError where a key stands twice: the last one would win in silence."""
        counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        if twice := [key for key, count in counts.items() if count > 1]:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def is_about_data(name: str, content: Config) -> bool:
    """Whether a configuration is of a data set: it is called so, or says more of one than names."""
    called = split_suffix(base_of(name))[0].lower() in ("data", "dataset")
    return called or not _DATA_SET.isdisjoint(content) or {"names", "nc"} <= content.keys()


def read_config(source: Source, name: str) -> Config | None:
    """The first document of a YAML file that names classes; None where it has nothing to do with labels.

    Raises:
        FormatError: BROKEN_CONFIG; FILE_TOO_LARGE, UNREADABLE.
    """
    try:
        text = read_text(source, name)
    except FormatError as problem:
        if problem.code != "BROKEN_FILE":
            raise
        return None
    if not _SAYS_NAMES.search(text):
        return None
    try:
        documents = [document for document in yaml.load_all(text, _Loader) if isinstance(document, dict)]
    except (yaml.YAMLError, RecursionError, ValueError) as problem:
        if not re.search(r"""^["']?names["']?\s*:""", text, re.MULTILINE):
            return None
        raise FormatError("BROKEN_CONFIG", f"{name} cannot be read: {_plain(problem)}", _HINT) from problem
    _refuse_tags(text, name)
    return next((one for one in documents if "names" in one or "nc" in one), None)


def _refuse_tags(text: str, name: str) -> None:
    """Raises FormatError BROKEN_CONFIG where a tag says that a class name is something else than what stands there."""
    # Most files have none, and are not parsed again.
    for document in yaml.compose_all(text, yaml.BaseLoader) if "!" in text else ():
        for node in _names_in(document):
            if isinstance(node, yaml.ScalarNode) and not _TEXT_TAGS.fullmatch(node.tag):
                message = (
                    f"{name} cannot be read: a name of a class is tagged {node.tag}, line {node.start_mark.line + 1}"
                )
                raise FormatError("BROKEN_CONFIG", message, "write the names as plain text, without tags")


def _names_in(document: yaml.Node) -> Iterator[yaml.Node]:
    for key, value in document.value if isinstance(document, yaml.MappingNode) else ():
        if key.value == "names" and isinstance(value, yaml.MappingNode):
            yield from (node for entry in value.value for node in entry)
        elif key.value == "names" and isinstance(value, yaml.SequenceNode):
            yield from value.value


def read_keys(source: Source, name: str) -> Config:
    """The `key = value` lines of a Darknet file. Raises FormatError as `read_text` does."""
    pairs = (line.partition("=") for line in read_lines(source, name))
    return {key.strip(): value.strip() for key, equals, value in pairs if equals and value.strip()}


def _plain(problem: Exception) -> str:
    return re.sub(r' in "<[\w ]+>"', "", " ".join(str(problem).split()))
