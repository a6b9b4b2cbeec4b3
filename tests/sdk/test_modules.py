"""The client's own modules form no circles, wherever an import stands."""

import ast
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from graphlib import TopologicalSorter
from pathlib import Path

import bloomery

ROOT = Path(bloomery.__file__).parent


def imports(path: Path, known: AbstractSet[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = {f"{node.module}.{alias.name}" for alias in node.names} & known
            yield from parts or {node.module} & known


def test_no_module_needs_itself_by_way_of_others() -> None:
    paths = {
        ".".join(("bloomery", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in ROOT.rglob("*.py")
        if "v1" not in path.parts
    }
    # The package itself only says where its names live.
    del paths["bloomery"]
    graph = {name: set(imports(path, paths.keys())) - {name} for name, path in paths.items()}
    assert sum(map(len, graph.values())) > 100
    TopologicalSorter(graph).prepare()
