"""What a COCO file calls its images and objects survives import, naming, manifest and export, whatever it is."""

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bloomery_dataset.export import _export_row
from bloomery_dataset.naming import Named, file_name
from bloomery_vision.formats import Format, ImportItem, LabelSpec, MappingSource, image_path, read, understand
from bloomery_vision.formats.write_coco import write_coco
from bloomery_vision.geometry import Shape
from bloomery_vision.manifest import ManifestRow, read_shard, write_shard

LABELS = [LabelSpec("truck", "", "7", "vehicle"), LabelSpec("bus", "", "50", "vehicle")]


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (64, 48)).save(stream, "PNG")
    return stream.getvalue()


PICTURE = picture()
PARTS = (
    st.text("aAäß猫 .%'(é", min_size=1, max_size=4).map(str.strip).filter(lambda part: part.strip(".") == part != "")
)
PATHS = st.lists(PARTS, min_size=1, max_size=3).map(lambda parts: "/".join(parts) + ".png")
IDS = st.lists(st.integers(0, 2**40), unique=True, max_size=4)


def rows(items: Sequence[ImportItem]) -> Iterator[ManifestRow]:
    """The images as a build names them, in the order in which they came."""
    taken: set[str] = set()

    def take(stem: str) -> bool:
        free = stem not in taken
        taken.add(stem)
        return free

    for number, item in enumerate(items):
        identifier = f"a{number:012}"
        shapes = tuple(
            Shape(shape.geometry, shape.label, source_id=own)
            for shape, own in zip(item.shapes, item.shape_ids or [""] * len(item.shapes), strict=True)
        )
        yield ManifestRow(
            asset=f"projects/p/assets/{identifier}",
            digest="sha256:0",
            logical_key="k",
            size_bytes=1,
            media_type="image/png",
            width=item.width or 0,
            height=item.height or 0,
            split="train",
            group="",
            file_name=file_name(Named(identifier, item.image_path, "image/png", item.source_name), take),
            shapes=shapes,
            original_name=item.image_path,
            source_name=item.source_name,
            source_id=item.source_id,
        )


def through(files: dict[str, bytes]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The COCO file that comes out of a folder, and the folder that it comes in."""
    source = MappingSource(files)
    items = [item for item in read(source, understand(source, Format.COCO)) if item.annotated]
    classes = [label.name for label in LABELS]
    kept = [_export_row(row) for row in read_shard(write_shard(rows(items), classes), classes)]
    text = b"".join(chunk.data for chunk in write_coco(kept, LABELS))
    return json.loads(text), {"instances.json": text} | {image_path(row): PICTURE for row in kept}


@given(st.dictionaries(PATHS, IDS, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_names_and_ids_are_the_same_after_any_number_of_rounds(drawn: dict[str, list[int]], random: Any) -> None:
    images, annotations, used = [], [], set[int]()
    for number, (name, ids) in enumerate(drawn.items()):
        images.append({"id": 3 * number + 5, "file_name": name, "width": 64, "height": 48})
        for identifier in set(ids) - used:
            used.add(identifier)
            box = [random.randrange(40), random.randrange(30), 5.0 + len(used), 4.0]
            record = {"id": identifier, "image_id": 3 * number + 5, "category_id": random.choice([7, 50])}
            annotations.append(record | {"bbox": box})
    categories = [{"id": int(one.source_id), "name": one.name, "supercategory": one.supercategory} for one in LABELS]
    wanted = {"images": images, "annotations": annotations, "categories": categories}
    files = dict.fromkeys(drawn, PICTURE) | {"instances.json": json.dumps(wanted).encode()}
    once, folder = through(files)
    twice, _ = through(folder)
    assert facts(twice) == facts(once)
    named, shapes = facts(once)
    assert (set(named), shapes) == ({image["id"] for image in images}, facts(wanted)[1])


def facts(content: dict[str, Any]) -> tuple[dict[int, str], dict[int, tuple[object, ...]]]:
    """Names by the images' ids, and of each annotation its image, class and box by its id."""
    return (
        {image["id"]: image["file_name"] for image in content["images"]},
        {one["id"]: (one["image_id"], one["category_id"], *one["bbox"]) for one in content["annotations"]},
    )
