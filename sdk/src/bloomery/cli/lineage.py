"""Where things come from, and what was made of them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bloomery._names import MODEL_VERSION, id_of, parent_of, short
from bloomery.cli._options import Output
from bloomery.cli._output import as_json, dump, grid

if TYPE_CHECKING:
    from bloomery import Asset, DatasetVersion, ModelVersion
    from bloomery.inference.v1 import ModelCard

Row = Sequence[object]


def show_model(version: "ModelVersion", output: Output) -> None:
    """Write where a model version comes from, and what was made from it."""
    card, made = version.card().proto, list(version.descendants())
    if output is not Output.table:
        dump({**as_json(card), "descendants": [as_json(one.proto) for one in made]}, output)
        return
    _write([*_origins(card), *_forms(card), *_made("base of", made)])


def show_dataset(version: "DatasetVersion", output: Output) -> None:
    """Write where a dataset version comes from, and which model versions were made from it."""
    made = list(version.model_versions())
    if output is not Output.table:
        dump({"datasetVersion": as_json(version.proto), "modelVersions": [as_json(one.proto) for one in made]}, output)
        return
    images = sum(part.image_count for part in version.proto.statistics.splits)
    project = id_of(parent_of(version.name, 2))
    read = f"project {project} at sequence {version.proto.read_sequence}, content {version.proto.content_hash}"
    _write([("from", f"{images} images", read), *_made("made", made)])


def show_asset(asset: "Asset", output: Output) -> None:
    """Write which dataset versions hold an image, and which model versions were made from those."""
    found = [(version, list(version.model_versions())) for version in asset.dataset_versions()]
    if output is not Output.table:
        shown = [
            {"datasetVersion": as_json(version.proto), "modelVersions": [as_json(one.proto) for one in made]}
            for version, made in found
        ]
        dump({"asset": as_json(asset.proto), "datasetVersions": shown}, output)
        return
    rows: list[Row] = []
    for version, made in found:
        rows += [("in", short(version.name), f"content {version.proto.content_hash}"), *_made("  made", made)]
    _write(rows)


def _write(rows: Sequence[Row]) -> None:
    grid(("RELATION", "WHAT", "MORE"), rows)


def _origins(card: "ModelCard") -> Iterator[Row]:
    lineage = card.model_version.lineage
    yield "made by", id_of(lineage.job), f"{lineage.recipe}, seed {lineage.seed}"
    if lineage.base:
        kind = "base model" if MODEL_VERSION.matches(lineage.base) else "base"
        yield kind, short(lineage.base), lineage.base_digest
    if lineage.dataset_version:
        yield "from data", short(lineage.dataset_version), f"content {lineage.dataset_hash}"
    for part in card.dataset_version.statistics.splits:
        yield f"  {part.split}", f"{part.image_count} images", ""


def _forms(card: "ModelCard") -> Iterator[Row]:
    for variant in card.model_version.variants:
        state = variant.State.Name(variant.state).removeprefix("STATE_")
        yield "variant", id_of(variant.name), f"{state}, by {id_of(variant.job)}"
    for one in card.evaluations:
        yield "measured by", id_of(one.job), f"on {short(one.dataset_version)}"
    for alias in card.model_version.aliases:
        yield "named by", alias, ""
    for deployment in card.deployments:
        yield "deployed by", id_of(deployment), ""


def _made(relation: str, versions: "Sequence[ModelVersion]") -> Iterator[Row]:
    for version in versions:
        yield relation, short(version.name), f"by {id_of(version.lineage.job)}"
