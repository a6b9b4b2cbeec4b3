"""Which label file belongs to which image, and which format a folder is in."""

import pytest

from bloomery_vision.formats import Format, Left
from bloomery_vision.formats.lookup import AmbiguousNameError, NameIndex
from tests.vision.folders import annotation, coco, codes, doubts, names_of, plan_of, read_folder, voc, voc_object

LINE = b"0 0.5 0.5 0.2 0.2"


def test_mirrored_folders_are_paired_by_the_path_below_the_roots(photo: bytes) -> None:
    files = {f"JPEGImages/cam{number}/0001.jpg": photo for number in (1, 2)}
    files |= {f"Annotations/cam{number}/0001.xml": voc(voc_object(1, 1, 9, 9, f"c{number}")) for number in (1, 2)}
    assert names_of(files) == {"JPEGImages/cam1/0001.jpg": ["c1"], "JPEGImages/cam2/0001.jpg": ["c2"]}


@pytest.mark.parametrize(
    ("images", "texts"),
    [
        ("{}/images", "{}/labels"),
        ("images/{}", "labels/{}"),
        ("pics/{}/rgb", "txt/{}/rgb"),
        ("data/{}", "data/{}"),
        ("{}", "{}/ann"),
    ],
)
def test_same_names_in_many_folders(photo: bytes, images: str, texts: str) -> None:
    files: dict[str, bytes] = {}
    for number in range(12):
        files[f"{images.format(number)}/frame.jpg"] = photo
        files[f"{texts.format(number)}/frame.txt"] = f"{number} .5 .5 .2 .2".encode()
    expected = {f"{images.format(number)}/frame.jpg": [f"class_{number}"] for number in range(12)}
    assert names_of(files) == expected


def test_an_image_in_a_folder_that_is_spelled_as_in_an_address_is_one_image(photo: bytes) -> None:
    files = {"my%20photos/a.jpg": photo, "xml/a.xml": voc(voc_object(1, 1, 9, 9), name="")}
    assert names_of(files) == {"my%20photos/a.jpg": ["cell"]}


@pytest.mark.parametrize("other", ["depth/a.png", "thumbnails/a.jpg", "Thermal/a.jpg", "originals/a.jpg", "a.jpg"])
@pytest.mark.parametrize("split", ["", "train/"])
class TestFoldersForImages:
    """Of several folders with images of one name the one that the format looks into counts."""

    def test_yolo_labels_belong_to_images(self, photo: bytes, split: str, other: str) -> None:
        files = {f"{split}images/a.jpg": photo, f"{split}{other}": photo, f"{split}labels/a.txt": LINE}
        plan = plan_of(files | {"classes.txt": b"cat"})
        assert plan.label_of == {f"{split}images/a.jpg": f"{split}labels/a.txt"}
        assert doubts(plan)["SIBLING_IMAGES"] == 1
        assert plan.doubts[0].example == f"{split}{other}"

    def test_annotations_belong_to_jpegimages(self, photo: bytes, split: str, other: str) -> None:
        files = {f"{split}JPEGImages/a.jpg": photo, f"{split}{other}": photo}
        files |= {f"{split}Annotations/a.xml": voc(voc_object(1, 1, 9, 9), name="")}
        plan = plan_of(files)
        assert plan.label_of == {f"{split}JPEGImages/a.jpg": f"{split}Annotations/a.xml"}
        assert doubts(plan)["SIBLING_IMAGES"] == 1


@pytest.mark.parametrize(("images", "texts"), [("set/{}/images", "set/{}/labels"), ("images/{}", "labels/{}")])
def test_folders_for_images_count_in_many_folders(photo: bytes, images: str, texts: str) -> None:
    files: dict[str, bytes] = {}
    for number in range(12):
        files |= {f"{folder.format(number)}/frame.jpg": photo for folder in (images, images.replace("images", "depth"))}
        files[f"{texts.format(number)}/frame.txt"] = f"{number} .5 .5 .2 .2".encode()
    plan = plan_of(files | {"classes.txt": b"cat"})
    expected = {f"{images.format(one)}/frame.jpg": f"{texts.format(one)}/frame.txt" for one in range(12)}
    assert plan.label_of == expected
    assert doubts(plan) == {"SIBLING_IMAGES": 12}


def test_a_folder_that_the_configuration_names_comes_before_others(photo: bytes) -> None:
    files = {"photos/a.jpg": photo, "depth/a.jpg": photo, "labels/a.txt": LINE}
    assert codes(read_folder(files)["labels/a.txt"]) == ["AMBIGUOUS_IMAGE"]
    plan = plan_of(files | {"data.yaml": b"train: photos\nnames: [cat]"})
    assert plan.label_of == {"photos/a.jpg": "labels/a.txt"}
    assert doubts(plan) == {"NO_SPLIT": 1, "SIBLING_IMAGES": 1}


def test_other_folders_of_equally_near_images_stay_undecided(photo: bytes) -> None:
    files = {"depth/a.jpg": photo, "rgb/a.jpg": photo, "labels/a.txt": LINE, "xml/a.xml": b"<x/>"}
    assert codes(read_folder(files)["labels/a.txt"]) == ["AMBIGUOUS_IMAGE"]


def test_images_beside_that_have_label_files_are_no_doubt(photo: bytes) -> None:
    files = {f"{folder}/a.jpg": photo for folder in ("images", "thermal/images")}
    files |= {f"{folder}/a.txt": LINE for folder in ("labels", "thermal/labels")} | {"classes.txt": b"cat"}
    plan = plan_of(files)
    assert plan.label_of == {"images/a.jpg": "labels/a.txt", "thermal/images/a.jpg": "thermal/labels/a.txt"}
    assert doubts(plan) == {}


DOG = b"1 0.2 0.2 0.1 0.1"


@pytest.mark.parametrize("second", ["labels_dog/a.txt", "images/a.txt", "extra/dog/a.txt"])
def test_several_yolo_files_about_one_image_are_joined_and_told(photo: bytes, second: str) -> None:
    files = {"images/a.jpg": photo, "labels/a.txt": LINE, second: DOG, "classes.txt": b"cat\ndog"}
    (item,) = read_folder(files).values()
    assert sorted(shape.label for shape in item.shapes) == ["cat", "dog"]
    assert not item.problems
    assert doubts(plan_of(files)) == {"JOINED_LABELS": 1}
    assert plan_of(files).label_files == sorted(["labels/a.txt", second])


def test_each_of_several_yolo_files_takes_its_own_list(photo: bytes) -> None:
    files = {"images/a.jpg": photo, "labels/a.txt": LINE, "labels/classes.txt": b"cat"}
    files |= {"labels_dog/a.txt": b"0 0.2 0.2 0.1 0.1", "labels_dog/classes.txt": b"dog"}
    assert names_of(files) == {"images/a.jpg": ["cat", "dog"]}


def test_of_yolo_files_that_contradict_the_first_is_taken(photo: bytes) -> None:
    files = {"images/a.jpg": photo, "labels/a.txt": LINE, "labels_old/a.txt": b"0 0.51 0.5 0.2 0.2\n" + DOG}
    (item,) = read_folder(files | {"classes.txt": b"cat\ndog"}).values()
    assert [shape.label for shape in item.shapes] == ["cat", "dog"]
    assert [(one.code, one.path) for one in item.problems] == [("DUPLICATE_IMAGE", "labels_old/a.txt")]


def test_a_broken_yolo_file_beside_a_good_one_costs_only_what_it_says(photo: bytes) -> None:
    files = {"images/a.jpg": photo, "labels/a.txt": b"0 .5\xff", "labels_dog/a.txt": DOG, "classes.txt": b"cat\ndog"}
    (item,) = read_folder(files).values()
    assert [shape.label for shape in item.shapes] == ["dog"]
    assert [(one.code, one.path) for one in item.problems] == [("BROKEN_FILE", "labels/a.txt")]


def test_images_that_differ_in_their_ending_share_all_files_of_their_name(photo: bytes) -> None:
    files = {"images/a.jpg": photo, "images/a.png": photo, "labels/a.txt": LINE, "labels_dog/a.txt": DOG}
    named = {path: sorted(found) for path, found in names_of(files | {"classes.txt": b"cat\ndog"}).items()}
    assert named == {"images/a.jpg": ["cat", "dog"], "images/a.png": ["cat", "dog"]}


@pytest.mark.parametrize(
    "said",
    [
        "<folder>cam{}</folder><filename>0001.jpg</filename>",
        "<folder>data/cam{}</folder><filename>0001.jpg</filename>",
        "<folder>x</folder><filename>0001.jpg</filename><path>C:\\data\\cam{}\\0001.jpg</path>",
        "<filename>0001.jpg</filename><path>/home/me/cam{}/0001.jpg</path>",
        "<folder>cam{}</folder><filename>0001.jpg</filename><path>/old/name.jpg</path>",
    ],
)
@pytest.mark.parametrize("label", ["xml/{}.xml", "xml/cam{}/f/0001.xml"])
def test_the_folder_inside_an_xml_file_decides_between_images_of_one_name(photo: bytes, label: str, said: str) -> None:
    files = {f"cam{number}/0001.jpg": photo for number in (1, 2)}
    for number in (1, 2):
        body = said.format(number) + voc_object(1, 1, 9, 9, f"c{number}")
        files[label.format(number)] = f"<annotation>{body}</annotation>".encode()
    assert names_of(files) == {"cam1/0001.jpg": ["c1"], "cam2/0001.jpg": ["c2"]}


@pytest.mark.parametrize("picture", ["l.heic", "images/l.pjpeg", "x/L.JP2"])
@pytest.mark.parametrize(
    ("label", "content"), [("labels/l.txt", LINE), ("l.xml", voc(voc_object(1, 1, 9, 9), name=""))]
)
def test_a_missing_image_that_is_there_in_another_kind_is_named(
    photo: bytes, picture: str, label: str, content: bytes
) -> None:
    files = {"a.jpg": photo, picture: b"?", label: content}
    (problem,) = read_folder(files)[label].problems
    assert problem.code == "MISSING_IMAGE"
    assert picture in problem.message
    assert "JPEG" in problem.hint
    assert "add" in read_folder({"a.jpg": photo, label: content})[label].problems[0].hint


def test_a_coco_record_of_an_image_that_is_not_read_names_it(photo: bytes) -> None:
    records = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "x/l.heic"}, {"id": 3, "file_name": "m.heic"}]
    files = {"a.jpg": photo, "images/l.heic": b"?", "i.json": coco(annotation(), images=records)}
    items = read_folder(files)
    (there,), (gone,) = items["x/l.heic"].problems, items["m.heic"].problems
    assert (there.code, gone.code) == ("MISSING_IMAGE", "MISSING_IMAGE")
    assert "images/l.heic" in there.message
    assert ("JPEG" in there.hint, "add" in gone.hint) == (True, True)


@pytest.mark.parametrize("label", ["labels/l.txt", "l.xml", "i.json"])
def test_a_missing_image_whose_name_has_no_ending_is_named(photo: bytes, label: str) -> None:
    records = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "l"}]
    content = {"i.json": coco(annotation(), images=records), "l.xml": voc(voc_object(1, 1, 9, 9), name="")}
    files = {"a.jpg": photo, "images/l": photo, label: content.get(label, LINE)}
    (problem,) = next(item for name, item in read_folder(files).items() if name != "a.jpg").problems
    assert problem.code == "MISSING_IMAGE"
    assert "images/l, which has a name without ending" in problem.message
    assert ".jpg" in problem.hint


def test_a_label_file_is_not_given_to_an_image_of_another_folder(photo: bytes) -> None:
    nameless = voc(voc_object(1, 1, 9, 9), name="")
    files = {"JPEGImages/cam1/1.jpg": photo, "Annotations/cam2/1.xml": nameless}
    files |= {"train/x.jpg": photo, "valid/x.xml": nameless}
    items = read_folder(files)
    assert not items["JPEGImages/cam1/1.jpg"].annotated
    assert not items["train/x.jpg"].annotated
    assert codes(items["Annotations/cam2/1.xml"]) == codes(items["valid/x.xml"]) == ["MISSING_IMAGE"]


def test_beside_images_a_label_file_without_one_gets_none_from_elsewhere(photo: bytes) -> None:
    files = {"cam1/1.jpg": photo, "cam1/1.txt": LINE, "cam1/2.txt": LINE, "cam2/2.jpg": photo}
    items = read_folder(files)
    assert not items["cam2/2.jpg"].annotated
    assert codes(items["cam1/2.txt"]) == ["MISSING_IMAGE"]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("cafe\u0301.jpg", "caf\u00e9.jpg"),
        ("caf\u00e9.jpg", "cafe\u0301.jpg"),
        ("my photo 1.jpg", "my%20photo%201.jpg"),
        ("my%20photo.jpg", "my photo.jpg"),
        ("a.jpg", "C:\\data\\A.JPG"),
        ("a.jpg", "/home/x/a.jpeg"),
        ("a.jpg", "a"),
        ("a.b.jpg", "a.b"),
        ("x/a.jpg", "https://host/x/a.jpg?token=1"),
        ("x/a.jpg", "/data/local-files/?d=set/x/a.jpg"),
        ("photo.jpg", "/data/upload/3/1a2b3c4d-photo.jpg"),
        ("\u00fc/\u00e4 1.jpg", "u\u0308/a\u0308%201.jpg"),
        ("100%.jpg", "100%.jpg"),
    ],
)
def test_names_that_are_the_same_to_people(photo: bytes, image: str, said: str) -> None:
    content = coco(annotation(), images=[{"id": 1, "file_name": said}])
    assert names_of({image: photo, "i.json": content}) == {image: ["cell"]}
    in_xml = {image: photo, "xml/7.xml": voc(voc_object(1, 1, 9, 9), name=said)}
    assert names_of(in_xml) == {image: ["cell"]}


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("cafe\u0301.jpg", "caf\u00e9.txt"),
        ("my photo.jpg", "my%20photo.txt"),
        ("my%20photo.jpg", "my photo.txt"),
        ("A.JPG", "a.txt"),
        ("a.jpg", "a.jpg.txt"),
        ("photo.jpg", "1a2b3c4d-photo.txt"),
        ("1a2b3c4d-photo.jpg", "1a2b3c4d-photo.txt"),
    ],
)
def test_label_files_of_such_names(photo: bytes, image: str, label: str) -> None:
    assert names_of({image: photo, label: LINE}) == {image: ["class_0"]}
    assert names_of({f"images/{image}": photo, f"labels/{label}": LINE}) == {f"images/{image}": ["class_0"]}


def test_the_name_as_it_stands_counts_first(photo: bytes) -> None:
    files = dict.fromkeys(("a b.jpg", "a%20b.jpg", "A.jpg", "a.jpg"), photo)
    files |= {"a%20b.txt": b"1 .5 .5 .2 .2", "a b.txt": b"2 .5 .5 .2 .2"}
    files |= {"A.txt": b"3 .5 .5 .2 .2", "a.txt": b"4 .5 .5 .2 .2"}
    expected = {"a%20b.jpg": ["class_1"], "a b.jpg": ["class_2"], "A.jpg": ["class_3"], "a.jpg": ["class_4"]}
    assert names_of(files) == expected


def test_of_two_images_with_one_name_the_xml_file_says_which(photo: bytes) -> None:
    files = {"a.jpg": photo, "a.png": photo, "a.xml": voc(voc_object(1, 1, 9, 9), name="a.png")}
    assert names_of(files) == {"a.jpg": [], "a.png": ["cell"]}
    vague = read_folder(files | {"a.xml": voc(voc_object(1, 1, 9, 9), name="")})
    assert codes(vague["a.xml"]) == ["AMBIGUOUS_IMAGE"]


def test_text_beside_images_that_is_no_label_file_is_left_alone(photo: bytes) -> None:
    plan = plan_of({"a.jpg": photo, "a.txt": b"a photo of a cat, 4k", "README.txt": b"nice"})
    assert plan.format is Format.IMAGES
    assert plan.left == {"a.txt": Left.NOT_LABELS, "README.txt": Left.NOT_LABELS}


@pytest.mark.parametrize(
    ("name", "content", "title"),
    [
        ("a.txt", b"Car 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59", "KITTI"),
        ("a.txt", b"100 100 200 100 200 200 100 200 plane 0", "DOTA"),
        ("a.json", b'{"shapes": [], "imagePath": "a.jpg", "flags": {}}', "LabelMe"),
        ("via.json", b'{"a.jpg123": {"filename": "a.jpg", "regions": []}}', "VIA"),
        ("project.json", b'[{"id": 1, "annotations": [{"id": 2, "result": []}]}]', "Label Studio"),
        ("x.json", b'[{"image": "a.jpg", "annotations": [{"label": "x", "coordinates": {"x": 1}}]}]', "CreateML"),
        ("r.json", b'[{"image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4], "score": 0.5}]', "COCO results"),
        ("train.json", b'{"dm_format_version": "1.0", "media_type": 2, "infos": {}, "items": []}', "Datumaro"),
        ("annotations.xml", b"<?xml version='1.0'?><annotations><version>1.1</version></annotations>", "CVAT's XML"),
        ("boxes.csv", b"filename,width,height,class\n", "a table of images"),
    ],
)
def test_labels_in_formats_that_are_not_read_are_named(photo: bytes, name: str, content: bytes, title: str) -> None:
    (stop,) = plan_of({"a.jpg": photo, name: content}).stops
    assert stop.code == "UNKNOWN_FORMAT"
    assert f"labels of {title}," in stop.message
    beside_others = plan_of({"b.jpg": photo, "b.xml": voc(), "a.jpg": photo, name: content})
    assert not beside_others.stops
    assert beside_others.left == {name: Left.OTHER_FORMAT}
    assert doubts(beside_others) == {"OTHER_FORMAT": 1}


def test_a_label_file_that_names_the_images_beats_the_names_of_folders(photo: bytes) -> None:
    image = "images/train/cam1/a.jpg"
    content = coco(annotation(), images=[{"id": 1, "file_name": "cam1/a.jpg"}])
    assert names_of({"annotations/instances_train.json": content, image: photo}) == {image: ["cell"]}
    assert names_of({"xml/train/cam1/a.xml": voc(voc_object(1, 1, 9, 9)), image: photo}) == {image: ["cell"]}
    assert names_of({"labels/train/cam1/a.txt": LINE, image: photo}) == {image: ["class_0"]}
    assert names_of({image: photo}) == {image: ["cam1"]}


def test_labels_of_no_image_do_not_make_a_folder_ambiguous(photo: bytes) -> None:
    old = coco(annotation(), images=[{"id": 1, "file_name": "gone.jpg"}])
    plan = plan_of({"a.jpg": photo, "a.txt": LINE, "classes.txt": b"cat", "old/result.json": old})
    assert plan.format is Format.YOLO
    assert plan.left == {"old/result.json": Left.OTHER_FORMAT}
    assert doubts(plan) == {"OTHER_FORMAT": 1}
    assert plan.doubts[0].message == "files of the format coco label no image of this folder, which is read as yolo"
    assert "export" not in plan.doubts[0].hint


def test_label_files_of_no_image_are_not_called_another_format(photo: bytes) -> None:
    content = coco(annotation(), images=[{"id": 1, "file_name": "a.jpg"}])
    plan = plan_of({"a.jpg": photo, "i.json": content, "xml/z.xml": voc(name="z.jpg"), "labels.csv": b"a,b"})
    assert plan.format is Format.COCO
    told = {doubt.example: doubt.message for doubt in plan.doubts if doubt.code == "OTHER_FORMAT"}
    assert told == {
        "xml/z.xml": "files of the format voc label no image of this folder, which is read as coco",
        "labels.csv": "files hold labels of an unknown format, which are not read",
    }


def test_a_name_counts_from_the_folder_where_the_images_begin() -> None:
    index = NameIndex(["images/a.jpg", "images/a/a.jpg", "images/b/c/d.jpg", "images/b/d.jpg", "images/e/d.jpg"])
    assert index.find("a.jpg") == "images/a.jpg"
    assert NameIndex(["i/b/a/x.jpg", "i/a/x.jpg", "i/A/x.jpg"]).find("a/x.jpg") == "i/a/x.jpg"
    with pytest.raises(AmbiguousNameError):
        index.find("d.jpg")


def test_an_image_in_a_folder_that_looks_quoted_is_found_by_its_name() -> None:
    assert NameIndex(["images/my%20photos/a.jpg"]).find("a.jpg") == "images/my%20photos/a.jpg"


KELVIN, ACCENT = "\u212a", "e\u0301"


@pytest.mark.parametrize("names", [("K", "k", KELVIN), ("\u00e9", "\u00c9", ACCENT)])
class TestOtherSpellings:
    """Names that are one where accents are composed and case does not count: the name as it stands comes first."""

    @pytest.mark.parametrize("folder", ["", "images/"])
    def test_a_name_is_the_file_that_is_called_so(self, names: tuple[str, ...], folder: str) -> None:
        index = NameIndex([f"{folder}{name}.png" for name in names])
        assert [index.find(f"{name}.png") for name in names] == [f"{folder}{name}.png" for name in names]
        assert [index.find(f"/other/{name}.png") for name in names] == [f"{folder}{name}.png" for name in names]

    def test_label_files_belong_to_the_image_that_is_called_so(self, names: tuple[str, ...], picture: bytes) -> None:
        files = {f"images/{name}.png": picture for name in names}
        files |= {f"labels/{name}.txt": b"0 .5 .5 .2 .2" for name in names}
        assert plan_of(files).label_of == {f"images/{name}.png": f"labels/{name}.txt" for name in names}

    def test_another_one_is_found_by_them_where_it_is_alone(self, names: tuple[str, ...]) -> None:
        first, _, last = names
        assert NameIndex([f"images/{first}.png"]).find(f"{last}.png") == f"images/{first}.png"


def test_the_name_inside_a_file_decides_between_images_that_differ_by_the_case_of_their_ending(picture: bytes) -> None:
    files = {"a.png": picture, "a.PNG": picture, "a.xml": voc(voc_object(1, 1, 9, 9), name="a.PNG")}
    assert plan_of(files).label_of == {"a.PNG": "a.xml"}


@pytest.mark.parametrize("folder", ["images", "data/Images", "JPEGImages"])
def test_of_two_folders_a_name_without_one_means_that_for_images(photo: bytes, folder: str) -> None:
    named = coco(annotation(), images=[{"id": 1, "file_name": "a.jpg"}])
    files = {f"{folder}/a.jpg": photo, "thumbnails/a.jpg": photo, "i.json": named}
    assert list(filter(None, names_of(files).values())) == [["cell"]]
    assert names_of(files)[f"{folder}/a.jpg"] == ["cell"]
    assert not doubts(plan_of(files))
    several = files | {"more/images/a.jpg": photo}
    assert doubts(plan_of(several)) == {"AMBIGUOUS_IMAGE": 1}
