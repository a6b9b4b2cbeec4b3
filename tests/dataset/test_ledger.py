"""Every image and every shape of a project is in the version, or counted under one reason."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery.dataset.v1 import DatasetSpec, DatasetVersion, SplitPolicy
from bloomery.vision.v1 import TaskType
from bloomery_dataset.model import LEFT_OUT, Image, Label, Method, Spec, Task
from bloomery_dataset.model import SplitPolicy as Policy
from bloomery_dataset.selection import Selection
from bloomery_vision.geometry import Box, Geometry, Mask, Polygon, Shape, Tag
from tests.dataset.annotations import FakeAnnotations
from tests.dataset.helpers import Service, box

LABELS = (Label("rbc", "RBC"), Label("wbc", "WBC"))
GEOMETRIES: Sequence[Geometry] = (
    Box(1, 2, 3, 4),
    Box(60, 2, 30, 4),
    Box(900, 2, 3, 4),
    Polygon(((1, 1), (20, 1), (1, 20))),
    Polygon(((1, 1), (200, 1), (1, 20))),
    Mask.from_runs(64, 48, [100, 7, 64 * 48 - 107]),
    Mask.from_runs(64, 48, [64 * 48]),
    Tag(),
)
SHAPES = st.builds(Shape, st.sampled_from(GEOMETRIES), st.sampled_from(["rbc", "wbc", "gone"]), crowd=st.booleans())
CONTENTS = st.lists(st.tuples(st.sampled_from(["", "train", "val"]), st.none() | st.lists(SHAPES, max_size=4)))
SPECS = st.builds(
    Spec,
    project=st.just("cells"),
    task=st.sampled_from(Task),
    split=st.builds(Policy, st.sampled_from(Method), unassigned=st.sampled_from(["train", "test", "", LEFT_OUT])),
    class_mapping=st.sampled_from([{}, {"rbc": "cell"}, {"rbc": "cell", "wbc": "cell"}]),
    include_empty=st.booleans(),
    include_unannotated=st.booleans(),
)


@settings(max_examples=300)
@given(SPECS, CONTENTS)
def test_nothing_is_lost_and_nothing_is_counted_twice(
    spec: Spec, contents: list[tuple[str, list[Shape] | None]]
) -> None:
    selection = Selection(spec, LABELS)
    images = [image(number, official, shapes) for number, (official, shapes) in enumerate(contents)]
    kept = [one for each in images if (one := selection.take(each))]
    shapes = [shape for one in kept for shape in one.shapes]
    assert len(kept) + selection.skipped_images.total() == selection.images == len(contents)
    assert len(shapes) + selection.skipped_shapes.total() == selection.shapes
    assert selection.shapes == sum(len(shapes or ()) for _, shapes in contents)
    assert sum(sum(one.counts.values()) for one in kept) == sum(not shape.crowd for shape in shapes)


def image(number: int, official: str, shapes: list[Shape] | None) -> Image:
    return Image(
        asset=f"projects/cells/assets/a{number}",
        digest=f"sha256:{number}",
        size_bytes=1,
        media_type="image/png",
        width=64,
        height=48,
        display_name=f"{number}.png",
        official=official,
        labels={},
        sequence=number,
        shapes=None if shapes is None else tuple(shapes),
    )


@pytest.mark.parametrize("task", [TaskType.TASK_TYPE_DETECT, TaskType.TASK_TYPE_SEGMENT, TaskType.TASK_TYPE_CLASSIFY])
async def test_a_version_says_what_became_of_all_that_the_project_has(
    service: Service, fake: FakeAnnotations, task: TaskType.ValueType
) -> None:
    fake.add(
        1, [box(), Shape(Tag(), "rbc"), Shape(Tag(), "rbc"), Shape(Box(1, 1, 9, 9), "rbc", crowd=True)], split="val"
    )
    fake.add(2, [Shape(Tag(), "rbc"), Shape(Tag(), "wbc")], split="train")
    fake.add(3, [], split="train")
    fake.add(4, None, split="train")
    fake.add(5, [box("gone")], split="train")
    fake.add(6, [box()])
    policy = SplitPolicy(method=SplitPolicy.METHOD_OFFICIAL, unassigned="drop")

    version = await service.build(DatasetSpec(task=task, split=policy))

    assert version.state == DatasetVersion.STATE_READY
    counts = version.statistics
    kept_images = sum(part.image_count for part in counts.splits)
    kept_shapes = sum(sum(part.shapes.values()) + part.crowd_count for part in counts.splits)
    assert kept_images + sum(counts.skipped_images.values()) == counts.source_image_count == 6
    assert kept_shapes + sum(counts.skipped_shapes.values()) == counts.source_shape_count == 8
    assert counts.skipped_images["no official split"] == counts.skipped_images["not annotated"] == 1
