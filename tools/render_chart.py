"""Render the chart's variants into `deploy/helm/bloomery/ci/rendered/`, where reviewers see what a change does.

`make chart` calls this. What is drawn at random on each installation is written as `DRAWN`.
"""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from real_parts.helm import ensure_helm

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "deploy/helm/bloomery"
DRAWN = "DRAWN"
# As Kubernetes itself tells a chart what it runs on.
KUBERNETES = "1.34.0"


class RefusedError(Exception):
    """Helm did not render, and said why."""


def variants() -> list[Path]:
    """Return the files of values that are supported."""
    return sorted((CHART / "ci").glob("*-values.yaml"))


def rendered(variant: Path) -> Path:
    """Return where a variant's output is kept."""
    return CHART / "ci/rendered" / variant.name.replace("-values", "")


def render(*options: str) -> list[dict[str, Any]]:
    """Return the objects of a release that is called as the chart, in a namespace of that name.

    Raises:
        RefusedError: the values are none that the chart takes.
    """
    command = [ensure_helm() / "helm", "template", "bloomery", CHART, "--namespace", "bloomery"]
    answer = subprocess.run(
        [*map(str, command), "--kube-version", KUBERNETES, *options], capture_output=True, text=True
    )
    if answer.returncode != 0:
        raise RefusedError(answer.stderr)
    return [document for document in yaml.safe_load_all(answer.stdout) if document]


def masked(documents: list[dict[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the objects without what differs from one rendering to the next."""
    for document in documents:
        if document["kind"] == "Secret" or "ca.crt" in document.get("data", {}):
            yield {**document, "data": dict.fromkeys(document["data"], DRAWN)}
        else:
            yield document


def text(variant: Path) -> str:
    """Return what is kept of a variant."""
    return yaml.safe_dump_all(masked(render("--values", str(variant))), sort_keys=False, width=120)


def main() -> None:
    """Write all variants."""
    for variant in variants():
        target = rendered(variant)
        target.parent.mkdir(exist_ok=True)
        target.write_text(text(variant))


if __name__ == "__main__":
    main()
