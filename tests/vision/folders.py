"""Labelled folders in memory, and what reading them found."""

import json
from collections.abc import Mapping

from bloomery_vision.findings import error
from bloomery_vision.formats import Format, ImportItem, LabelSpec, MappingSource, Plan, read, understand
from bloomery_vision.formats.class_lists import ClassList
from bloomery_vision.formats.plan import Left
from bloomery_vision.formats.split_lists import SplitList

Files = Mapping[str, bytes]


def items_of(files: Files, file_format: Format) -> dict[str, ImportItem]:
    items = list(read(MappingSource(files), plan_of(files, file_format)))
    assert len({item.image_path for item in items}) == len(items)
    return {item.image_path: item for item in items}


def plan_of(files: Files, file_format: Format | None = None) -> Plan:
    """The plan, in which each file is exactly once."""
    understood = understand(MappingSource(files), file_format)
    every = [*understood.images, *understood.label_files, *understood.lists, *understood.left]
    assert sorted(every) == sorted(files)
    return understood


def enormous_plan(count: int, text: str) -> Plan:
    """A plan each of whose lists has so many entries, with this text in their names."""
    names = [f"{text}{number}" for number in range(count)]
    return Plan(
        Format.YOLO,
        images=names,
        label_files=names,
        lists=names,
        left=dict.fromkeys(names, Left.OTHER),
        unplaced={name: error("NO_IMAGE", name) for name in names},
        split_lists=[SplitList(name, "train", 1) for name in names],
        class_lists=[ClassList(name, dict(enumerate(names))) for name in names],
        class_list_of=dict.fromkeys(names, 0),
        labels=[LabelSpec(name, "#ffffff") for name in names],
        stops=[error("CONTRADICTION", name, path=name) for name in names],
    )


def read_folder(files: Files) -> dict[str, ImportItem]:
    """The items of a folder whose format is found out."""
    items = list(read(MappingSource(files), plan_of(files)))
    assert len({item.image_path for item in items}) == len(items)
    return {item.image_path: item for item in items}


def names_of(files: Files) -> dict[str, list[str]]:
    """The labels of each item's shapes."""
    return {path: [shape.label for shape in item.shapes] for path, item in read_folder(files).items()}


def labels(files: Files, file_format: Format | None = None) -> list[str]:
    return [label.name for label in plan_of(files, file_format).labels]


def doubts(understood: Plan) -> dict[str, int]:
    """How often there is what somebody should look at, by code."""
    every = {*understood.images, *understood.label_files, *understood.lists, *understood.left}
    for doubt in understood.doubts:
        assert doubt.message
        assert doubt.hint
        assert not doubt.message[0].isdigit(), "the count stands before it"
        assert doubt.example.partition(": ")[0] in every, "a file, or a place in one"
    return {doubt.code: doubt.count for doubt in understood.doubts}


def codes(item: ImportItem) -> list[str]:
    assert all(problem.message and problem.path for problem in item.problems)
    return [problem.code for problem in item.problems]


def voc(*objects: str, size: str = "<width>100</width><height>80</height>", name: str = "a.png") -> bytes:
    body = "".join(objects)
    return f"<annotation><filename>{name}</filename><size>{size}</size>{body}</annotation>".encode()


def voc_object(xmin: object, ymin: object, xmax: object, ymax: object, label: str = "cell") -> str:
    box = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
    return f"<object><name>{label}</name><bndbox>{box}</bndbox></object>"


GOOD_OBJECT = voc_object(1, 1, 100, 80)


def annotation(**changes: object) -> dict[str, object]:
    return {"id": 1, "image_id": 1, "category_id": 7, "bbox": [10, 10, 20, 20], "iscrowd": 0} | changes


def coco(*annotations: object, images: object = None, categories: object = None) -> bytes:
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 80}] if images is None else images,
        "annotations": list(annotations),
        "categories": [{"id": 7, "name": "cell"}] if categories is None else categories,
    }
    return json.dumps(content).encode()
