"""What the guides say against what is there: links, commands, settings, reasons, Python."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
import typer
from pydantic import BaseModel

import bloomery
from bloomery.cli import app
from bloomery_access.settings import AccessSettings
from bloomery_annotation.settings import AnnotationSettings
from bloomery_dataset.settings import DatasetSettings
from bloomery_gateway.settings import GatewaySettings
from bloomery_inference.agent.settings import AgentSettings
from bloomery_inference.settings import InferenceSettings
from bloomery_kit.settings import PREFIX
from bloomery_trainer.recipes import Catalogue
from bloomery_trainer.settings import TrainerSettings

ROOT = Path(__file__).resolve().parents[2]
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*GUIDES, *(ROOT / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"))]
CODE = ("sdk/src", "libs", "services", "server/src")
SETTINGS = (
    *(AccessSettings, AnnotationSettings, DatasetSettings, TrainerSettings),
    *(InferenceSettings, AgentSettings, GatewaySettings),
)
ELSEWHERE = {
    "BLOOMERY_DATA": "the client",
    "BLOOMERY_ENDPOINT": "the client",
    "BLOOMERY_PROJECT": "the client",
    "BLOOMERY_TRANSFERS": "the client",
    "BLOOMERY_WEIGHTS": "the recipes",
    "BLOOMERY_TRAINER_CA": "the worker",
    "BLOOMERY_CACHE": "make",
    "BLOOMERY_TEST_DATA": "the tests",
    "BLOOMERY_TEST_ADDRESS": "the tests on a cluster",
    "BLOOMERY_CONTROL_IMAGE": "the tests on a cluster",
    "BLOOMERY_STOP_GRACE": "the worker",
    "BLOOMERY_BENCH_BESIDE": "the benchmark of imports",
    "BLOOMERY_BENCH_IMAGES": "the benchmark of imports",
}
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
REASON = re.compile(r"`([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)*)`")


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> Iterator[str]:
    for language, text in FENCE.findall(page.read_text("utf-8")):
        if language in languages:
            yield text


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_relative_links_lead_somewhere(page: Path) -> None:
    lost = []
    for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            lost.append(target)
    assert not lost


def command_lines(page: Path) -> Iterator[str]:
    for text in blocks(page, "sh", "bash"):
        yield from text.splitlines()
    for text in blocks(page, "console"):
        yield from (line.removeprefix("$ ") for line in map(str.strip, text.splitlines()) if line.startswith("$ "))


def calls(page: Path) -> Iterator[list[str]]:
    """The words after `bloomery` of each command line that calls it, up to a pipe or a redirection."""
    for line in command_lines(page):
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"\w+=.*", words[0]):
            words = words[1:]
        if words and words[0] == "bloomery":
            yield list(takewhile(lambda word: word not in {"|", ">"}, words[1:]))


def commands() -> Iterator[tuple[str, ...]]:
    """The path of every command that does something."""

    def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        names = command.list_commands(None) if hasattr(command, "list_commands") else ()
        for name in names:
            yield from walk(command.get_command(None, name), (*path, name))
        if not names:
            yield path

    yield from walk(typer.main.get_command(app), ())


def parse(words: list[str]) -> None:
    """Read a command line as the command line does, without running it. Raises what a wrong one makes it raise."""
    command: Any = typer.main.get_command(app)
    if words and words[0] in {"--install-completion", "--show-completion"}:
        assert words[0] in {option for parameter in command.params for option in parameter.opts}
        return
    context = None
    while hasattr(command, "list_commands"):
        name, *words = words
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        command = found
    command.make_context("bloomery", words, resilient_parsing=False)


@pytest.mark.parametrize("page", GUIDES, ids=page_id)
def test_commands_parse(page: Path) -> None:
    for words in calls(page):
        try:
            parse(words)
        except Exception as error:
            raise AssertionError(f"bloomery {shlex.join(words)}: {error}") from error


def test_a_command_that_does_not_exist_is_noticed() -> None:
    for wrong in (["fly"], ["jobs", "fly"], ["jobs", "list", "--fly"], ["recipes", "show"]):
        with pytest.raises(Exception, match=r"fly|recipe"):
            parse(wrong)


def test_the_page_about_the_command_line_has_every_command_and_no_other() -> None:
    listed = re.findall(r"^\| `bloomery ([a-z -]+)`", (ROOT / "docs/cli.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(" ".join(path) for path in commands())


def variables(kind: type[BaseModel], prefix: str = PREFIX) -> Iterator[tuple[str, Any]]:
    """What the environment may set, each with its default."""
    for name, field in kind.model_fields.items():
        choices = get_args(field.annotation) or (field.annotation,)
        # A choice may carry the tag by which it is made.
        kinds = [get_args(choice)[0] if get_origin(choice) is Annotated else choice for choice in choices]
        groups = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        for group in groups:
            yield from variables(group, f"{prefix}{name.upper()}__")
        if not groups:
            yield f"{prefix}{name.upper()}", field.default


def test_every_setting_is_explained_and_every_variable_exists() -> None:
    real = {name for kind in SETTINGS for name, _ in variables(kind)}
    explained = set(re.findall(r"`(BLOOMERY_\w+)`", (ROOT / "docs/operations.md").read_text("utf-8")))
    assert real <= explained, "explain these in docs/operations.md"
    named = {name for page in GUIDES for name in re.findall(r"\bBLOOMERY_\w+", page.read_text("utf-8"))}
    assert named <= real | ELSEWHERE.keys(), "no code reads these"


def test_numbers_that_are_explained_are_the_defaults() -> None:
    real = [given for kind in SETTINGS for given in variables(kind)]
    rows = re.findall(
        r"^\| (`BLOOMERY_.+?) \| (\d[^|]*) \|", (ROOT / "docs/operations.md").read_text("utf-8"), re.MULTILINE
    )
    assert len(rows) > 30
    for names, told in rows:
        pairs = zip(names.split(", "), told.split(", "), strict=True)
        wrong = {f"{name} is {value}" for name, value in pairs if (name.strip("`"), number(value)) not in real}
        assert wrong == set()


def number(text: str) -> float:
    """A number, perhaps of MiB or GiB."""
    digits, _, unit = text.partition(" ")
    return float(digits) * {"": 1, "MiB": 1 << 20, "GiB": 1 << 30}[unit]


@cache
def literals() -> set[str]:
    """Every text constant in the code of services, libraries and client."""
    files = (path for folder in CODE for path in (ROOT / folder).rglob("*.py") if "_pb2" not in path.name)
    trees = (ast.parse(path.read_text("utf-8")) for path in files)
    nodes = (node for tree in trees for node in ast.walk(tree))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def reasons(page: str) -> set[str]:
    """The codes in the first column of a page's tables."""
    rows = re.findall(r"^\| ([^|]*`[^|]*) \|", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    return {code for row in rows for code in REASON.findall(row) if not code.startswith(PREFIX)}


@pytest.mark.parametrize("page", ["docs/errors.md", "docs/formats.md", "docs/training.md"])
def test_every_reason_that_is_explained_exists(page: str) -> None:
    known = literals()
    built = {f"UNSCHEDULABLE_{what}" for what in known if what.isupper()}
    assert reasons(page) - known - built == set()


def test_every_reason_that_the_contracts_name_is_explained() -> None:
    prose = "".join(path.read_text("utf-8") for path in sorted((ROOT / "protos/bloomery").rglob("*_service.proto")))
    worker_only = set(REASON.findall((ROOT / "protos/bloomery/training/v1/worker_service.proto").read_text("utf-8")))
    named = {code for code in REASON.findall(prose) if "_" in code and not code.startswith(("METHOD_", "ROLE_"))}
    assert named - worker_only - reasons("docs/errors.md") - reasons("docs/training.md") == set()


def test_python_examples_compile_and_import_what_exists() -> None:
    for page in GUIDES:
        for text in blocks(page, "python"):
            tree = ast.parse(text)
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.module == "bloomery":
                    assert {alias.name for alias in node.names} <= set(bloomery.__all__)


def test_no_page_names_a_folder_of_somebodys_machine() -> None:
    for page in PAGES:
        named = re.findall(r"(?<![\w.])/(?:root|work|tmp|home/(?!me\b)\w+)\b\S*", page.read_text("utf-8"))
        assert not named, page_id(page)


def test_examples_that_the_guides_use_exist() -> None:
    for page in GUIDES:
        for path in re.findall(r"\bexamples/[\w./-]+\w", page.read_text("utf-8")):
            assert (ROOT / path).exists(), f"{page_id(page)}: {path}"


def test_the_recipe_that_is_explained_is_one() -> None:
    (text,) = blocks(ROOT / "docs/recipes.md", "yaml")
    assert [recipe.name for recipe in Catalogue.load({"class-prior": text}).list()] == ["class-prior"]


@pytest.mark.parametrize("page", ["faults", "operations"])
def test_the_pages_about_faults_name_tests_that_are_there(page: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / f"docs/{page}.md").read_text()))
    there = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert named
    assert named <= there, sorted(named - there)
