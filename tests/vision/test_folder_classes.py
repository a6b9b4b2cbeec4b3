"""Which names the classes of a folder have: lists under many names, and which of several is meant."""

import pytest

from bloomery_vision.formats import Format, Left
from tests.vision.folders import annotation, coco, doubts, labels, names_of, plan_of, read_folder, voc, voc_object

LINE = b"0 0.5 0.5 0.2 0.2"


class TestClassLists:
    def test_each_label_file_takes_the_list_of_its_own_folder(self, photo: bytes) -> None:
        files = {"night/a.jpg": photo, "night/a.txt": LINE, "night/classes.txt": b"cat\ndog"}
        files |= {"day/b.jpg": photo, "day/b.txt": LINE, "day/classes.txt": b"dog\ncat"}
        assert names_of(files) == {"day/b.jpg": ["dog"], "night/a.jpg": ["cat"]}
        assert not plan_of(files).doubts

    def test_the_nearest_of_the_folders_above_counts(self, photo: bytes) -> None:
        files = {"classes.txt": b"far", "set/data.yaml": b"names: [near]"}
        files |= {"set/images/x/a.jpg": photo, "set/labels/x/a.txt": LINE, "images/b.jpg": photo, "labels/b.txt": LINE}
        assert names_of(files) == {"images/b.jpg": ["far"], "set/images/x/a.jpg": ["near"]}

    def test_a_list_beside_the_images_counts_where_none_is_above(self, photo: bytes) -> None:
        files = {"one/images/classes.txt": b"cat", "two/images/classes.txt": b"dog"}
        for folder in ("one", "two"):
            files |= {f"{folder}/images/a.jpg": photo, f"{folder}/labels/a.txt": LINE}
        assert names_of(files) == {"one/images/a.jpg": ["cat"], "two/images/a.jpg": ["dog"]}

    def test_lists_of_one_folder_that_contradict_each_other_stop_the_import(self, photo: bytes) -> None:
        files = {"a.jpg": photo, "a.txt": LINE, "classes.txt": b"cat\ndog", "data.yaml": b"names: [dog, cat]"}
        (stop,) = plan_of(files).stops
        assert stop.code == "CLASS_LISTS_DIFFER"
        assert "data.yaml and classes.txt call class 0 'dog' and 'cat'" in stop.message

    def test_a_contradiction_is_told_once_and_the_classes_have_names(self, photo: bytes) -> None:
        files = {"data.yaml": b"names: [raccoon, fox, badger]", "classes.txt": b"fox\nraccoon"}
        for split in ("train", "val"):
            files |= {f"images/{split}/{split}.jpg": photo, f"labels/{split}/{split}.txt": b"3 .5 .5 .2 .2"}
        plan = plan_of(files)
        assert [(stop.code, stop.path) for stop in plan.stops] == [("CLASS_LISTS_DIFFER", "data.yaml")]
        assert doubts(plan) == {}
        assert labels(files) == ["raccoon", "fox", "badger"]

    def test_equally_far_lists_that_contradict_each_other_stop_the_import(self, photo: bytes) -> None:
        files = {"images/a.jpg": photo, "labels/a.txt": LINE, "x/classes.txt": b"cat", "y/classes.txt": b"dog"}
        assert [stop.code for stop in plan_of(files).stops] == ["CLASS_LISTS_DIFFER"]
        assert not plan_of(files | {"y/classes.txt": b"cat\ndog"}).stops

    def test_lists_that_agree_are_one(self, photo: bytes) -> None:
        files = {"a.jpg": photo, "a.txt": b"1 .5 .5 .2 .2", "classes.txt": b"cat", "data.yaml": b"names: [cat, dog]"}
        assert names_of(files) == {"a.jpg": ["dog"]}
        assert labels(files) == ["cat", "dog"]

    @pytest.mark.parametrize(
        "name",
        [
            "_classes.txt",
            "_darknet.labels",
            "categories.txt",
            "category.txt",
            "class.txt",
            "class_list.txt",
            "class_names.txt",
            "Classes.txt",
            "coco.names",
            "cones.names",
            "label_map.txt",
            "label_names.txt",
            "labels.txt",
            "names.txt",
            "obj.names",
            "predefined_classes.txt",
        ],
    )
    def test_a_list_is_known_by_many_names(self, photo: bytes, name: str) -> None:
        files = {"a.jpg": photo, "a.txt": LINE, name: b"cone\nbollard\n"}
        assert names_of(files) == {"a.jpg": ["cone"]}
        assert labels(files) == ["cone", "bollard"]
        assert plan_of(files).lists == [name]

    @pytest.mark.parametrize(
        "content",
        [
            b"\xef\xbb\xbfcat\r\ndog\r\n",
            "cat\ndog".encode("utf-16"),
            b"0 cat\n1 dog\n",
            b"0: cat\n1: dog\n\n",
            b" cat \ndog",
            b"# my classes\ncat\ndog\n",
            b"#colours: 2\n\ncat\n# the others\ndog",
            b"# number name\n0 cat\n1 dog",
        ],
    )
    def test_lists_come_in_the_dress_of_many_programs(self, photo: bytes, content: bytes) -> None:
        assert labels({"a.jpg": photo, "a.txt": LINE, "classes.txt": content}) == ["cat", "dog"]

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("classes.json", '["cat", "dog"]'),
            ("classes.json", '{"0": "cat", "1": "dog"}'),
            ("class_names.json", '{"dog": 1, "cat": 0}'),
            ("labels.json", '{"version": 1, "names": {"1": "dog", "0": "cat"}}'),
            ("categories.json", '[{"id": 1, "name": "dog"}, {"id": 0, "name": "cat", "supercategory": "animal"}]'),
            ("classes.csv", "cat\ndog\n"),
            ("classes.csv", "name\ncat\ndog\n"),
            ("classes.csv", "class_id,class_name\n1,dog\n0,cat\n"),
            ("class_list.csv", "1,dog\n0,cat"),
            ("class_list.csv", "dog,1\r\ncat,0\r\n"),
            ("classes.csv", "id,name\n0,cat\n1,dog\n"),
            ("classes.csv", "dog;1\ncat;0\n"),
            ("classes.csv", "Name\tId\ndog\t1\ncat\t0\n"),
            ("classes.csv", "id;name;color\n1;dog;#ff0000\n0;cat;#00ff00\n"),
            ("classes.csv", "class,name\n1,dog\n0,cat\n"),
            ("classes.csv", "name,label\ndog,1\ncat,0\n"),
            ("labels.csv", "label,color\ncat,#ff0000\ndog,00ff00\n"),
            ("class_dict.csv", "name,r,g,b\ncat,64,128,64\n dog ,192,0,128\n"),
            ("label_map.pbtxt", "item {\n  name: 'cat'\n  id: 1\n}\nitem { id: 2 name: 'dog' }"),
            ("cells.pbtxt", 'item { name: "/m/01" id: 0 display_name: "cat" }\nitem { id: 1, name: "dog" }'),
        ],
    )
    def test_a_list_may_be_json_or_a_table_or_tensorflows(self, photo: bytes, name: str, content: str) -> None:
        files = {"images/a.jpg": photo, "labels/a.txt": LINE, name: content.encode()}
        assert labels(files) == ["cat", "dog"]
        assert plan_of(files).lists == [name]
        assert not plan_of(files).doubts

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("labels.json", b'{"images": [], "names": ["x"]}'),
            ("labels.json", b"[1, 2]"),
            ("labels.json", b'[{"id": 1e999, "name": "x"}]'),
            ("labels.json", b'["cat", "dog", "cat"]'),
            ("labels.json", b'{"a.jpg": 0, "b.jpg": 1}'),
            ("notes.json", b'{"categories": [{"id": 1e999, "name": "x"}]}'),
            ("data.yaml", b"kpt_shape: [" + b"9" * 5000 + b", 3]\nnc: 1"),
            ("labels.json", b"[" * 100_000),
            ("labels.json", b'[{"label": "x"}]'),
            ("classes.json", b'["' + b"x" * (5 << 20) + b'"]'),
            ("classes.csv", b""),
            ("classes.json", b" "),
            ("classes.csv", b"cat,0,red\ndog,1,blue\n"),
            ("classes.csv", b"cat;yes\ndog;no\n"),
            ("_classes.csv", b"filename, cat, dog\na.jpg, 1, 0\n"),
            ("classes.csv", b"cat,yes\ndog,no\n"),
            ("labels.csv", b"file,class\na.jpg,dog\nb.jpg,cat\n"),
            ("labels.csv", b"id,label\n1,cat\n2,dog\n3,cat\n"),
            ("labels.csv", b"image_id,label\n1,cat\n2,dog\n"),
            ("labels.csv", b"name,count\ncat,12\n"),
            ("labels.csv", b"a.jpg,0\nb.png,1\n"),
            ("classes.csv", b"9" * 5000 + b",cat\n"),
            ("x.pbtxt", b"item { id: " + b"9" * 5000 + b" name: 'x' }"),
            ("x.pbtxt", b'node { name: "conv" op: "Conv2D" }'),
        ],
        ids=[
            "coco",
            "numbers",
            "infinite",
            "one name twice",
            "images",
            "an infinite note",
            "long keypoints",
            "deep",
            "records",
            "large",
            "empty",
            "nothing",
            "colours by name",
            "two texts by semicolon",
            "of images",
            "two texts",
            "which is what",
            "which number is what",
            "an image's number",
            "counts",
            "files",
            "a long number",
            "a long id",
            "a graph",
        ],
    )
    def test_what_is_only_called_like_a_list_is_none(self, photo: bytes, name: str, content: bytes) -> None:
        plan = plan_of({"images/a.jpg": photo, "labels/a.txt": LINE, name: content})
        assert not plan.stops
        assert [label.name for label in plan.labels] == ["class_0"]

    @pytest.mark.parametrize(
        ("name", "content", "why"),
        [
            ("classes.json", b'["cat",', "cannot be read"),
            ("names.json", b'{"cat"', "cannot be read"),
            ("classes.json", b'{"0": "cat", "0": "bird", "1": "dog"}', "'0' stands twice"),
            ("classes.json", b'{"names": {"0": "cat", "0": "bird"}}', "'0' stands twice"),
            ("classes.json", b'{"0": "cat", "00": "bird"}', "number 0 stands twice"),
            ("classes.json", b'{"cat": 0, "bird": 0, "dog": 1}', "number 0 stands twice"),
            ("categories.json", b'[{"id": 5, "name": "x"}, {"id": 5, "name": "y"}]', "number 5 stands twice"),
            ("classes.csv", b"id,name\n0,cat\n0,dog\n1,cow\n", "number 0 stands twice"),
            ("classes.csv", b"cat;0\ndog;0\n", "number 0 stands twice"),
            ("classes.csv", b"id,name\n0,cat\n,dog\n", "'dog' has no number"),
            ("classes.csv", b"id,name\n0,cat\n1.5,dog\n", "'dog' has no number"),
            ("classes.csv", b'cat\n"dog\nbird\n', "cannot be read"),
            ("classes.csv", b'cat\n"dog\r' + b"x" * 200_000, "cannot be read"),
            ("classes.csv", b"cat\xff", "not text in UTF-8"),
            ("x.pbtxt", b"item { id: 5 name: 'cat' }\nitem { id: 5 name: 'dog' }", "number 5 stands twice"),
            ("x.pbtxt", b"item { id: 1 name: 'cat' }\nitem { id: 2 name: 'dog'", "it ends within an item"),
            ("x.pbtxt", b"item { id: 1 name: 'cat' }\nite", "it ends within an item"),
            ("x.pbtxt", b"item { id: 1 name: 'cat' p { id: 0 } }\nitem { id: 2 name: 'd' p { id: 0 }", "it ends"),
            ("x.pbtxt", b"item { id: 1 name: 'cat' }\nitem { name: 'dog' }", "an item lacks its id or name"),
        ],
    )
    def test_a_list_that_is_broken_or_names_a_number_twice_stops_the_import_where_it_is_meant(
        self, photo: bytes, name: str, content: bytes, why: str
    ) -> None:
        files = {"images/a.jpg": photo, "labels/a.txt": LINE, name: content}
        plan = plan_of(files)
        assert [stop.path for stop in plan.stops] == [name]
        assert name in plan.stops[0].message
        assert why in plan.stops[0].message
        assert doubts(plan) == {}
        for firm in ({"data.yaml": b"names: [cat]"}, {"classes.txt": b"cat"}):
            plan = plan_of({**files, **firm})
            assert [*plan.stops, *plan.doubts] == []

    def test_a_broken_json_list_is_meant_before_lists_that_are_further_away(self, photo: bytes) -> None:
        files = {"two/b.jpg": photo, "two/b.txt": LINE, "two/classes.json": b'["cat",'}
        for further in ({"classes.json": b'["dog"]'}, {"elsewhere/classes.txt": b"dog"}):
            plan = plan_of({**files, **further})
            assert [(stop.code, stop.path) for stop in plan.stops] == [("BROKEN_CONFIG", "two/classes.json")]
        assert doubts(plan_of({**files, "two/classes.csv": b"dog"})) == {"BROKEN_CONFIG": 1}

    @pytest.mark.parametrize("content", [b'["cat",', b'{"a": 0, "b": 0}'])
    def test_a_broken_json_list_stops_no_folder_without_label_files(self, photo: bytes, content: bytes) -> None:
        files = {"train/cat/a.jpg": photo, "train/dog/b.jpg": photo, "classes.json": content}
        plan = plan_of(files)
        assert not plan.stops
        assert [label.name for label in plan.labels] == ["cat", "dog"]

    def test_what_is_called_like_a_list_and_is_none_is_named_where_names_are_missing(self, photo: bytes) -> None:
        files = {"images/a.jpg": photo, "labels/a.txt": LINE, "classes.csv": b"cat,0,red\ndog,1,blue\n"}
        (doubt,) = plan_of(files).doubts
        assert doubt.code == "NO_CLASS_NAMES"
        assert "classes.csv" in doubt.message

    @pytest.mark.parametrize(
        ("content", "number", "told"),
        [
            (b'{"0": "cat", "1": "dog"}', 2, "the classes are 0 to 1;"),
            (b'{"1": "cat", "2": "dog"}', 0, "the classes are 1 to 2;"),
            (b'{"0": "cat", "2": "dog"}', 1, "the classes are 0, 2;"),
            (b'{"0": "a", "2": "b", "3": "c", "9": "d"}', 1, "the classes are 0, 2 to 3, 9;"),
            (b'{"1": "a", "3": "b", "5": "c", "7": "d", "9": "e"}', 0, "the classes are 1, 3, 5, ... 9;"),
        ],
    )
    def test_a_class_without_a_name_is_told_with_the_numbers_that_have_one(
        self, photo: bytes, content: bytes, number: int, told: str
    ) -> None:
        files = {"a.jpg": photo, "a.txt": b"%d .5 .5 .2 .2" % number, "classes.json": content}
        (problem,) = read_folder(files)["a.jpg"].problems
        assert problem.code == "UNKNOWN_CLASS"
        assert problem.hint.startswith(told)

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("classes.json", b'{"1": "cat", "2": "dog"}'),
            ("classes.csv", b"cat,1\ndog,2\n"),
            ("data.yaml", b"names: {1: cat, 2: dog}"),
        ],
    )
    def test_a_list_that_counts_from_one_is_in_doubt_where_label_files_count_from_zero(
        self, photo: bytes, name: str, content: bytes
    ) -> None:
        files = {"images/a.jpg": photo, "labels/a.txt": b"1 .5 .5 .2 .2", name: content}
        assert doubts(plan_of(files)) == {}
        (doubt,) = plan_of(files | {"images/b.jpg": photo + b" ", "labels/b.txt": LINE}).doubts
        assert (doubt.code, doubt.count, doubt.example) == ("UNKNOWN_CLASS", 1, "labels/b.txt")
        assert name in doubt.message

    @pytest.mark.parametrize("content", [b"id,label\n1,cat\n2,dog\n3,cat\n", b"image_id,label\n1,cat\n2,dog\n"])
    def test_a_table_that_says_which_image_is_what_is_not_passed_over(self, photo: bytes, content: bytes) -> None:
        plan = plan_of({**{f"{number}.jpg": photo for number in (1, 2, 3)}, "labels.csv": content})
        assert [stop.code for stop in plan.stops] == ["UNKNOWN_FORMAT"]
        assert not plan.labels

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("categories.json", b'[{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]'),
            ("labels/categories.json", b'[{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]'),
            ("labels.csv", b"label,id\ndog,0\nfox,1"),
            ("old/map.pbtxt", b"item { id: 1 name: 'dog' }"),
        ],
    )
    @pytest.mark.parametrize("firm", ["data.yaml", "classes.txt"])
    def test_json_and_tables_say_nothing_where_a_configuration_or_plain_list_applies(
        self, photo: bytes, name: str, content: bytes, firm: str
    ) -> None:
        files = {"images/a.jpg": photo, "labels/a.txt": b"1 .5 .5 .2 .2", name: content}
        files[firm] = b"names: [cat, dog]" if firm == "data.yaml" else b"cat\ndog"
        plan = plan_of(files)
        assert [*plan.stops, *plan.doubts] == []
        assert labels(files) == ["cat", "dog"]
        assert names_of(files) == {"images/a.jpg": ["dog"]}

    def test_a_json_list_applies_where_the_plain_lists_are_of_other_folders(self, photo: bytes) -> None:
        files = {"one/a.jpg": photo, "one/a.txt": LINE, "one/data.yaml": b"names: [cat]"}
        files |= {"two/b.jpg": photo, "two/b.txt": LINE, "two/classes.json": b'["dog"]'}
        assert names_of(files) == {"one/a.jpg": ["cat"], "two/b.jpg": ["dog"]}

    def test_names_that_all_begin_with_the_sign_of_a_comment_are_names(self, photo: bytes) -> None:
        assert labels({"a.jpg": photo, "a.txt": LINE, "classes.txt": b"#1\n#2"}) == ["#1", "#2"]

    def test_darknets_file_of_keys_says_which_list_is_meant(self, photo: bytes) -> None:
        files = {"obj.data": b"classes = 1\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n"}
        files |= {"obj.names": b"cell", "coco.names": b"person", "train.txt": b"data/obj_train_data/a.jpg\n"}
        files |= {"obj_train_data/a.jpg": photo, "obj_train_data/a.txt": LINE}
        assert names_of(files) == {"obj_train_data/a.jpg": ["cell"]}
        assert plan_of(files).splits == {"obj_train_data/a.jpg": "train"}

    def test_without_a_list_it_is_said(self, photo: bytes) -> None:
        plan = plan_of({"a.jpg": photo, "a.txt": b"3 .5 .5 .2 .2"})
        assert doubts(plan) == {"NO_CLASS_NAMES": 1}
        assert [label.name for label in plan.labels] == ["class_3"]

    def test_label_studios_notes_are_a_list_and_no_coco(self, photo: bytes) -> None:
        notes = b'{"categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}], "info": {"year": 2024}}'
        files = {"images/1f-a.jpg": photo, "labels/1f-a.txt": LINE, "notes.json": notes}
        assert plan_of(files).format is Format.YOLO
        assert labels(files) == ["cat", "dog"]
        assert names_of(files | {"classes.txt": b"cat\ndog\n"}) == {"images/1f-a.jpg": ["cat"]}

    def test_notes_without_categories_hide_no_list_elsewhere(self, photo: bytes) -> None:
        files = {"a.jpg": photo, "a.txt": LINE, "notes.json": b'{"categories": []}', "more.yaml": b"names: [cat]"}
        assert labels(files) == ["cat"]

    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            ("{'0': cat, '1': dog}", ["cat", "dog"]),
            ("\n  '1': dog\n  '0': cat\n", ["cat", "dog"]),
            ("[yes, no]", ["yes", "no"]),
            ("[on, 'off', ~]", ["on", "off", "~"]),
            ("[01, 1.0, 1e3]", ["01", "1.0", "1e3"]),
            ("{0: 2024-01-01}", ["2024-01-01"]),
            ("\n- cat\n- dog # the other\n", ["cat", "dog"]),
        ],
    )
    def test_names_of_a_configuration_are_taken_as_they_stand(
        self, photo: bytes, names: str, expected: list[str]
    ) -> None:
        files = {"data.yaml": f"nc: 2\nnames: {names}\n".encode(), "images/a.jpg": photo, "labels/a.txt": LINE}
        assert labels(files) == expected

    @pytest.mark.parametrize(
        "content",
        [
            b"site_name: x\nmarkdown_extensions:\n  - y:\n      z: !!python/name:a.b.c\n",
            b"a: 1\n---\nb: 2\n",
            b"{{- if .Values.x }}\nname: {{ .Values.names }}\n{{- end }}\n",
            b"\x00\xff\xfe",
            b"kind: CustomResourceDefinition\nspec:\n  names:\n    plural: things\n",
            b"&a [*a]",
        ],
        ids=["tag", "two documents", "template", "binary", "nested names", "recursion"],
    )
    def test_a_yaml_file_that_has_nothing_to_do_with_it_does_no_harm(self, photo: bytes, content: bytes) -> None:
        files = {"images/a.jpg": photo, "labels/a.txt": LINE, "classes.txt": b"cat", "mkdocs.yml": content}
        assert names_of(files) == {"images/a.jpg": ["cat"]}
        files = {"a.jpg": photo, "a.xml": voc(voc_object(1, 1, 9, 9)), "mkdocs.yml": content}
        assert names_of(files) == {"a.jpg": ["cell"]}

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("yolov5s.yaml", b"nc: 80\ndepth_multiple: 0.33\nbackbone: []\n"),
            ("custom_yolov5s.yaml", b"# parameters\nnc: 1\nanchors:\n  - [1,2]\n"),
            ("hosts.yml", b"names: [srv1, srv2]\n"),
            ("k8s.yaml", b"apiVersion: v1\nkind: List\nnames:\n  - one\n---\nnc: hello\n"),
            ("crd.yaml", b"kind: CustomResourceDefinition\nnames: {plural: things}\n"),
        ],
    )
    @pytest.mark.parametrize("listed", [("classes.txt", b"cat"), ("data.yaml", b"names: [cat]")])
    def test_a_yaml_file_of_something_else_contradicts_no_list(
        self, photo: bytes, name: str, content: bytes, listed: tuple[str, bytes]
    ) -> None:
        files = {"images/a.jpg": photo, "labels/a.txt": LINE, name: content} | dict([listed])
        assert names_of(files) == {"images/a.jpg": ["cat"]}
        assert labels(files) == ["cat"]
        assert doubts(plan_of(files)) == {}
        assert plan_of(files).left == {name: Left.NOT_LABELS}

    def test_a_count_names_nothing(self, photo: bytes) -> None:
        files = {"images/a.jpg": photo, "labels/a.txt": LINE, "data.yaml": b"nc: 3\nval: images\n"}
        assert names_of(files | {"classes.txt": b"cat"}) == {"images/a.jpg": ["cat"]}
        assert labels(files) == ["class_0"]
        assert doubts(plan_of(files)) == {"NO_CLASS_NAMES": 1}
        assert plan_of(files).splits == {"images/a.jpg": "val"}

    def test_names_alone_count_where_there_is_no_other_list(self, photo: bytes) -> None:
        files = {"images/a.jpg": photo, "labels/a.txt": LINE, "cells.yaml": b"names: [cat]"}
        assert names_of(files) == {"images/a.jpg": ["cat"]}
        assert plan_of(files).lists == ["cells.yaml"]

    def test_another_count_than_there_are_names_is_a_doubt(self, photo: bytes) -> None:
        files = {"images/a.jpg": photo, "labels/a.txt": LINE, "data.yaml": b"nc: 5\nnames: [cat]"}
        assert doubts(plan_of(files)) == {"CLASS_COUNT_DIFFERS": 1}
        assert not doubts(plan_of(files | {"data.yaml": b"nc: 1\nnames: [cat]"}))

    @pytest.mark.parametrize("names", ["{0: cat, 0: dog}", "{0: cat, 00: dog}", "[cat]\nnames: [dog]"])
    def test_a_number_with_two_names_is_refused(self, photo: bytes, names: str) -> None:
        config = f"train: images\nnames: {names}\n".encode()
        (stop,) = plan_of({"images/a.jpg": photo, "labels/a.txt": LINE, "data.yaml": config}).stops
        assert (stop.code, stop.path) == ("BROKEN_CONFIG", "data.yaml")
        assert "data.yaml" in stop.message
        assert "<" not in stop.message

    def test_a_configuration_that_says_otherwise_than_a_nearer_list_is_a_doubt(self, photo: bytes) -> None:
        files = {"images/a.jpg": photo, "labels/a.txt": LINE, "labels/classes.txt": b"cat\ndog"}
        plan = plan_of(files | {"data.yaml": b"names: [dog, cat]"})
        assert doubts(plan) == {"CLASS_LISTS_DIFFER": 1}
        assert (plan.doubts[0].example, plan.class_lists[0].path) == ("data.yaml", "labels/classes.txt")
        assert not doubts(plan_of(files | {"data.yaml": b"names: [cat]"}))

    def test_a_broken_configuration_is_named(self, photo: bytes) -> None:
        files = {"set/data.yaml": b"names: {x: cat}", "set/images/a.jpg": photo, "set/labels/a.txt": LINE}
        plan = plan_of(files)
        (stop,) = plan.stops
        assert (stop.code, stop.path) == ("BROKEN_CONFIG", "set/data.yaml")
        assert "set/data.yaml" in stop.message
        assert doubts(plan) == {}

    def test_a_name_used_twice_is_a_doubt(self, photo: bytes) -> None:
        plan = plan_of({"a.jpg": photo, "a.txt": LINE, "classes.txt": b"cat\ncat"})
        assert doubts(plan) == {"DUPLICATE_CLASS": 1}

    def test_names_are_composed(self, photo: bytes) -> None:
        files = {"a.jpg": photo, "a.txt": LINE, "classes.txt": "cafe\u0301".encode()}
        assert names_of(files) == {"a.jpg": ["caf\u00e9"]}
        in_coco = coco(annotation(), categories=[{"id": 7, "name": "cafe\u0301"}])
        assert names_of({"a.png": photo, "i.json": in_coco}) == {"a.png": ["caf\u00e9"]}
        in_xml = voc(voc_object(1, 1, 9, 9, "cafe\u0301"))
        assert names_of({"a.png": photo, "a.xml": in_xml}) == {"a.png": ["caf\u00e9"]}


class TestOrderOfClasses:
    def test_listed_classes_come_in_their_order_with_the_unused(self, photo: bytes) -> None:
        categories = [{"id": 9, "name": "zebra", "supercategory": "animal"}, {"id": 2, "name": "ant"}]
        plan = plan_of({"a.png": photo, "i.json": coco(annotation(category_id=2), categories=categories)})
        found = [(label.name, label.source_id, label.supercategory) for label in plan.labels]
        assert found == [("zebra", "9", "animal"), ("ant", "2", "")]

    def test_roboflows_group_of_all_classes_is_no_class(self, photo: bytes) -> None:
        categories = [
            {"id": 0, "name": "cells", "supercategory": "none"},
            {"id": 1, "name": "RBC", "supercategory": "cells"},
            {"id": 2, "name": "WBC", "supercategory": "cells"},
        ]
        path = "train/_annotations.coco.json"
        files = {"train/a.png": photo, path: coco(annotation(category_id=2), categories=categories)}
        assert labels(files) == ["RBC", "WBC"]
        used = coco(annotation(category_id=0), categories=categories)
        assert labels(files | {path: used}) == ["cells", "RBC", "WBC"]

    def test_pascal_voc_takes_the_order_of_a_list_that_knows_all_labels(self, photo: bytes) -> None:
        files = {"JPEGImages/a.jpg": photo, "Annotations/a.xml": voc(voc_object(1, 1, 9, 9, "dog"))}
        listed = b"# label:color_rgb:parts:actions\nbackground:0,0,0::\nzebra:1,2,3::\ndog:4,5,6::\n"
        assert labels(files | {"labelmap.txt": listed}) == ["zebra", "dog"]
        assert labels(files | {"classes.txt": b"cat\n"}) == ["dog"]

    def test_a_number_is_a_name_as_text(self, photo: bytes) -> None:
        files = {"a.png": photo, "i.json": coco(annotation(), categories=[{"id": 7, "name": 12}])}
        assert names_of(files) == {"a.png": ["12"]}


TAGGED = "tag:yaml.org,2002:python/name:os.system"


@pytest.mark.parametrize(
    "config",
    [
        b"names:\n- cat\n- !!python/name:os.system dog\n",
        b"names: {0: cat, 1: !!python/name:os.system dog}",
        b"names: {0: cat, !!python/name:os.system 1: dog}",
    ],
)
def test_a_tag_that_makes_a_name_something_else_is_refused(picture: bytes, config: bytes) -> None:
    plan = plan_of({"data.yaml": config, "images/a.png": picture, "labels/a.txt": b"1 .5 .5 .2 .2"})
    assert [(stop.code, stop.path) for stop in plan.stops] == [("BROKEN_CONFIG", "data.yaml")]
    assert "data.yaml" in plan.stops[0].message
    assert TAGGED in plan.stops[0].message


@pytest.mark.parametrize(
    "config",
    [
        b"names: !!python/tuple [cat, dog!]",
        b"names: [!!str cat, !!python/unicode 'dog!']",
        b"names: {!!int 0: cat, 1: 'dog!'}",
        b"x: !!python/name:os.system y\nnames: [! cat, dog!]",
    ],
)
def test_tags_that_say_what_stands_there_do_no_harm(picture: bytes, config: bytes) -> None:
    files = {"data.yaml": config, "images/a.png": picture, "labels/a.txt": b"1 .5 .5 .2 .2"}
    assert names_of(files) == {"images/a.png": ["dog!"]}
