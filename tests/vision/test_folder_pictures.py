"""Which pictures of a folder are images to import."""

import pytest

from bloomery_vision.formats import Left
from tests.vision.folders import annotation, coco, doubts, names_of, plan_of, voc, voc_object

LINE = b"0 0.5 0.5 0.2 0.2"


def test_masks_of_pascal_voc_are_left_alone_and_counted(photo: bytes) -> None:
    files = {"JPEGImages/a.png": photo, "Annotations/a.xml": voc(voc_object(1, 1, 9, 9))}
    files |= {"SegmentationClass/a.png": photo, "SegmentationObject/a.png": photo}
    assert names_of(files) == {"JPEGImages/a.png": ["cell"]}
    assert plan_of(files).left == {"SegmentationClass/a.png": Left.MASK, "SegmentationObject/a.png": Left.MASK}


@pytest.mark.parametrize("of", ["Class", "Object"])
def test_masks_drawn_for_people_are_left_alone_in_any_kind(photo: bytes, of: str) -> None:
    """As labelme2voc.py lays a folder out."""
    drawn = f"Segmentation{of}Visualization/a.jpg"
    files = {"JPEGImages/a.jpg": photo, "Annotations/a.xml": voc(voc_object(1, 1, 9, 9)), drawn: photo}
    assert plan_of(files).images == ["JPEGImages/a.jpg"]
    assert plan_of(files).left == {drawn: Left.MASK}
    assert not plan_of(files).doubts


def test_panoptic_masks_are_left_alone(photo: bytes) -> None:
    photograph = [{"id": 1, "file_name": "a.jpg"}]
    panoptic = coco({"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 5}]}, images=photograph)
    files = {"val2017/a.jpg": photo, "annotations/panoptic_val2017/a.png": photo}
    files |= {"annotations/panoptic_val2017.json": panoptic}
    files |= {"annotations/instances_val2017.json": coco(annotation(), images=photograph)}
    plan = plan_of(files)
    assert plan.images == ["val2017/a.jpg"]
    assert plan.left["annotations/panoptic_val2017/a.png"] is Left.MASK
    assert plan.left["annotations/panoptic_val2017.json"] is Left.OTHER_KIND
    named_otherwise = {"photos/a.jpg": photo, "segments/a.png": photo, "p.json": panoptic}
    assert plan_of(named_otherwise).left["segments/a.png"] is Left.MASK


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a.jpg", "masks/a.png"),
        ("images/train/a.jpg", "labels/train/a.png"),
        ("images/a.jpg", "annotations/a.png"),
        ("imgs/a.png", "gt/a.png"),
        ("a.png", "masks/a.png"),
        ("a.jpg", "a_mask.png"),
        ("leftImg8bit/a.png", "gtFine/a_gtFine_labelIds.png"),
        ("leftImg8bit/train/x/x_7_leftImg8bit.png", "gtFine/train/x/x_7_gtFine_labelIds.png"),
        ("leftImg8bit/train/x/x_7_leftImg8bit.png", "gtFine/train/x/x_7_gtFine_color.png"),
        ("images/a.jpg", "stuffthingmaps/a.png"),
        ("images/a.jpg", "semantic/a.png"),
        ("a.jpg", "a_label.png"),
        ("b.jpg", "b_mask_1.png"),
        ("b_1.png", "b_mask_1.png"),
        ("images/b.png", "masks/b_mask_12.png"),
        ("rgb/7_rgb.png", "instances/7_instances.png"),
    ],
)
def test_masks_are_known_by_name_and_picture(photo: bytes, image: str, mask: str) -> None:
    plan = plan_of({image: photo, mask: photo})
    assert plan.images == [image]
    assert plan.left == {mask: Left.MASK}


@pytest.mark.parametrize(
    "names",
    [
        ("train/mask/1.png", "train/no_mask/1.png"),
        ("masks/1.png", "masks/2.png"),
        ("face2.png", "face_mask.png"),
        ("face2.png", "face_mask_1.png"),
        ("red_label.png", "red_label_2.png"),
        ("images/1.jpg", "mask/1.jpg"),
    ],
)
def test_pictures_of_masks_are_photographs(photo: bytes, names: tuple[str, str]) -> None:
    assert plan_of(dict.fromkeys(names, photo)).images == list(names)


def test_a_picture_with_labels_of_its_own_is_no_mask(photo: bytes) -> None:
    plan = plan_of({"images/a.jpg": photo, "masks/a.png": photo, "masks/a.txt": LINE})
    assert plan.images == ["images/a.jpg", "masks/a.png"]


def test_what_is_skipped_is_counted_and_told_by_ending(photo: bytes) -> None:
    names = ["a.heic", "b.HEIC", "c.jp2", "d.mp4", "e.psd"]
    plan = plan_of({"x.jpg": photo, "x.txt": LINE, "classes.txt": b"a"} | dict.fromkeys(names, photo))
    assert doubts(plan) == {"PICTURE_NOT_READ": 4, "VIDEO_NOT_READ": 1}
    assert plan.doubts[0].message.endswith(": .heic, .jp2, .psd")


@pytest.mark.parametrize("suffix", ["avif", "gif", "jfif", "jpe", "JPG", "tif", "webp", "mpo"])
def test_endings_of_images(photo: bytes, suffix: str) -> None:
    assert plan_of({f"a.{suffix}": photo}).images == [f"a.{suffix}"]
