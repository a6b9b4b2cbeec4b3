"""A label that the files of a corrected folder do not name any more is told, so that no version has it unnoticed."""

import json
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from bloomery.annotation.v1 import FORMAT_YOLO, CreateLabelRequest, Import, Label, Project
from bloomery_annotation.store import imports
from tests.annotation.folders import codes
from tests.annotation.helpers import Server, png
from tests.annotation.test_import_plans import LINE, labels, yolo


def named(*names: str) -> dict[str, bytes]:
    return yolo(config=f"names: [{', '.join(names)}]\ntrain: images/train\nval: images/val\n")


async def corrected(server: Server, project: Project, *names: str) -> Import:
    await server.run_import(project, named("cta", "dog"))
    done = await server.run_import(project, named(*names))
    assert done.state == Import.STATE_SUCCEEDED, done.error
    return done


async def test_a_label_whose_name_was_corrected_is_told(both: Server) -> None:
    project = await both.project()
    done = await corrected(both, project, "cat", "dog")
    assert codes(done) == {"projects/p/labels/cta": "STALE_LABEL"}
    assert (dict(done.problem_counts), done.problem_count) == ({"STALE_LABEL": 1}, 1)
    assert "bloomery labels delete cta" in done.problems[0].hint
    assert await labels(both, project) == {"cta": 0, "dog": 0, "cat": 1}


async def test_other_requests_do_not_wait_while_a_former_plan_is_read(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = list[threading.Thread]()

    def loads(text: str) -> Any:
        threads.append(threading.current_thread())
        return json.loads(text)

    monkeypatch.setattr(imports, "json", SimpleNamespace(loads=loads))
    await corrected(server, project, "cta")
    assert threads
    assert threading.main_thread() not in threads


async def test_a_name_that_no_list_has_any_more_is_told_also_where_it_never_had_shapes(
    server: Server, project: Project
) -> None:
    assert codes(await corrected(server, project, "cta")) == {"projects/p/labels/dog": "STALE_LABEL"}


async def test_a_corrected_order_of_classes_is_told_and_that_of_the_labels_stays(
    server: Server, project: Project
) -> None:
    done = await corrected(server, project, "dog", "cow", "cta")
    assert codes(done) == {"data.yaml": "LABEL_ORDER"}
    assert "dog" in done.problems[0].message
    assert list(await labels(server, project)) == ["cta", "dog", "cow"]


async def test_an_import_of_nothing_but_a_list_in_another_order_says_so(server: Server, project: Project) -> None:
    await server.run_import(project, named("cta", "dog"))
    done = await server.run_import(project, {"data.yaml": b"names: [dog, cta]"}, format=FORMAT_YOLO)
    assert done.state == Import.STATE_SUCCEEDED, done.error
    assert codes(done) == {"data.yaml": "LABEL_ORDER"}


async def test_labels_between_those_of_before_are_no_other_order(server: Server, project: Project) -> None:
    assert not codes(await corrected(server, project, "cow", "cta", "bird", "dog"))


async def test_a_label_with_shapes_of_another_folder_is_not_told(server: Server, project: Project) -> None:
    await server.run_import(project, {"z.png": png(9), "z.txt": LINE, "classes.txt": b"cta"})
    assert not codes(await corrected(server, project, "cat", "dog"))


async def test_labels_that_people_made_are_not_told(server: Server, project: Project) -> None:
    await server.stub.CreateLabel(CreateLabelRequest(parent=project.name, label=Label(display_name="bird")))
    assert not codes(await corrected(server, project, "cta", "dog"))
