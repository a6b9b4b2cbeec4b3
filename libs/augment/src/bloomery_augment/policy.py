"""A policy as people write it: what the objects and their surroundings are like, and how much to change.

In one line, as a parameter of a job:

    low_contrast,moves_or_vibrates,lighting=poor,intensity=high

or as YAML, of which JSON is a part, in a file or as the parameter:

    characteristics: [low_contrast, moves_or_vibrates]
    environment: {lighting: poor}
    intensity: high
"""

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self

import yaml

CHARACTERISTICS = (
    "changes_shape", "changes_size", "reflective_surface", "low_contrast", "moves_or_vibrates", "semi_transparent",
    "similar_to_background", "multiple_objects", "partially_hidden",
)  # fmt: skip
"""What objects may be like."""

ENVIRONMENT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "lighting": ("stable", "variable", "poor"),
        "camera": ("fixed", "moving", "shaky"),
        "background": ("clean", "busy", "changing"),
        "distance": ("fixed", "variable", "close"),
    }
)
"""What the surroundings may be like; the first of each is the plain one, which asks for nothing."""

INTENSITIES = ("low", "medium", "high")
MEDIUM = "medium"
LONGEST = 1000
"""Characters of a text that is read."""

_KEYS = ("characteristics", "environment", "intensity")


class PolicyError(ValueError):
    """A policy that cannot be followed.

    Attributes:
        problems: all of them, each with the key that it is about and how to mend it.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Policy:
    """What to augment for.

    Attributes:
        characteristics: of CHARACTERISTICS, in their order.
        environment: what of ENVIRONMENT is not plain, in its order.
        intensity: of INTENSITIES.
    """

    characteristics: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    intensity: str = MEDIUM

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads one line, YAML or JSON.

        Raises:
            PolicyError: with everything that is wrong.
        """
        if len(text) > LONGEST:
            raise PolicyError([f"must have at most {LONGEST} characters, not {len(text)}"])
        return cls._of(_line(text) if _is_line(text) else _document(text))

    def __str__(self) -> str:
        """The policy in one line, which `parse` reads again; the same for all ways to write it."""
        settings = [f"{key}={value}" for key, value in self.environment.items()]
        intensity = [] if self.intensity == MEDIUM else [f"intensity={self.intensity}"]
        return ",".join([*self.characteristics, *settings, *intensity])

    def to_dict(self) -> dict[str, object]:
        """The policy as JSON has it."""
        return {
            "characteristics": list(self.characteristics),
            "environment": dict(self.environment),
            "intensity": self.intensity,
        }

    @classmethod
    def _of(cls, content: Mapping[object, object]) -> Self:
        problems = [
            f"{_shown(key)}: is no key of a policy; {_choose(key, _KEYS)}" for key in content if key not in _KEYS
        ]
        characteristics = _characteristics(content.get("characteristics", []), problems)
        environment = _environment(content.get("environment", {}), problems)
        intensity = content.get("intensity", MEDIUM)
        if intensity not in INTENSITIES:
            problems.append(f"intensity: {_shown(intensity)} is none; {_choose(intensity, INTENSITIES)}")
        if not problems and not characteristics and not environment:
            problems.append(
                "asks for nothing: name a characteristic or surroundings that are not plain; an empty text is no policy"
            )
        if problems:
            raise PolicyError(problems)
        return cls(characteristics, environment, str(intensity))


def _is_line(text: str) -> bool:
    return not any(character in text for character in ":{[\n")


def _line(text: str) -> Mapping[object, object]:
    """One line as the document that it stands for."""
    words: list[str] = []
    settings: dict[str, str] = {}
    problems: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            words.append(key)
        elif key in settings:
            problems.append(f"{key}: is given twice")
        elif key in ENVIRONMENT or key == "intensity":
            settings[key] = value
        else:
            problems.append(f"{_shown(key)}: is no setting; {_choose(key, (*ENVIRONMENT, 'intensity'))}")
    intensity = settings.pop("intensity", MEDIUM)
    content: dict[object, object] = {"characteristics": words, "environment": settings, "intensity": intensity}
    if problems:
        raise PolicyError([*problems, *_problems_of(content)])
    return content


def _problems_of(content: Mapping[object, object]) -> Iterable[str]:
    try:
        Policy._of(content)  # noqa: SLF001 - of this module
    except PolicyError as error:
        return error.problems
    return ()


def _document(text: str) -> Mapping[object, object]:
    try:
        content = yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = f"is neither a line such as low_contrast,lighting=poor nor YAML: {_first_line(error)}"
        raise PolicyError([problem]) from None
    if not isinstance(content, Mapping):
        raise PolicyError([f"must be a mapping with {', '.join(_KEYS)}"])
    return content


def _characteristics(given: object, problems: list[str]) -> tuple[str, ...]:
    if not isinstance(given, list):
        problems.append(f"characteristics: must be a list of {', '.join(CHARACTERISTICS)}")
        return ()
    problems.extend(
        f"characteristics: {_shown(one)} is none; {_choose(one, CHARACTERISTICS)}"
        for one in given
        if one not in CHARACTERISTICS
    )
    return tuple(one for one in CHARACTERISTICS if one in given)


def _environment(given: object, problems: list[str]) -> Mapping[str, str]:
    if not isinstance(given, Mapping):
        problems.append(f"environment: must be a mapping with {', '.join(ENVIRONMENT)}")
        return {}
    for key, value in given.items():
        if key not in ENVIRONMENT:
            problems.append(f"environment: {_shown(key)} is none of its keys; {_choose(key, ENVIRONMENT)}")
        elif value not in ENVIRONMENT[key]:
            problems.append(f"environment.{key}: {_shown(value)} is none; {_choose(value, ENVIRONMENT[key])}")
    return {key: given[key] for key, values in ENVIRONMENT.items() if given.get(key, values[0]) in values[1:]}


def _choose(given: object, known: Collection[str]) -> str:
    close = difflib.get_close_matches(given, known, n=2) if isinstance(given, str) else []
    return f"did you mean {' or '.join(close)}?" if close else f"choose from {', '.join(known)}"


def _shown(value: object) -> str:
    """A value for people; never a whole structure."""
    match value:
        case str():
            return repr(value[:50])
        case bool() | int() | float() | None:
            return str(value)[:50]
        case _:
            return f"a {type(value).__name__}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
