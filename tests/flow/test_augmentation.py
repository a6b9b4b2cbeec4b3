"""Policies shown on images of a real version, and refused where a job would be made with one that there is not."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bloomery import Project, errors
from tests.flow.conftest import Run

POLICY = "changes_shape,low_contrast,intensity=high"


def test_a_preview_shows_each_image_beside_changed_copies_with_shapes(
    project: Project, run: Run, tmp_path: Path
) -> None:
    version = project.build_dataset("cats-v", split="100/0/0", include_empty=True).wait()
    done = run("augment", "preview", POLICY, "cats-v@1", "-p", project.id, "--save", tmp_path, "--seed", 3)
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == [str(path) for path in sorted(tmp_path.glob("*.jpg"))]
    sheets = version.preview_augmentation(POLICY, images=3, variants=3, seed=3)
    assert len(sheets) == 2
    assert {sheet.asset for sheet in sheets} == {item.asset for item in version.items()}
    for number, sheet in enumerate(sheets, 1):
        assert sheet.picture.size == (4 * 64 + 3 * 6, 48)
        with Image.open(tmp_path / f"{number:02d}-{Path(sheet.file_name).stem}.jpg") as written:
            assert written.size == sheet.picture.size
    again = version.preview_augmentation(POLICY, images=3, variants=3, seed=3)
    assert [sheet.picture.tobytes() for sheet in again] == [sheet.picture.tobytes() for sheet in sheets]
    copies = [np.asarray(sheets[0].picture)[:, at : at + 64] for at in (0, 70, 140, 210)]
    assert any((copies[0] != copy).any() for copy in copies[1:])


def test_masks_and_tags_are_shown_too(project: Project) -> None:
    version = project.build_dataset("tags-v", split="100/0/0", task="segment", include_empty=True).wait()
    assert len(version.preview_augmentation("distance=close", images=2, variants=1)) == 2


def test_show_explains_a_line_and_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("characteristics: [partially_hidden]\nenvironment: {background: busy}\n")
    shown = run("augment", "show", file)
    assert shown.exit_code == 0, shown.output
    assert "--set augment=partially_hidden,background=busy" in shown.stdout
    assert "background=busy: things get into the way" in shown.stdout
    as_json = run("augment", "show", "background=busy,partially_hidden", "-o", "json")
    assert json.loads(as_json.stdout)["text"] == "partially_hidden,background=busy"


def test_a_policy_that_there_is_not_is_refused_by_client_and_server(project: Project, run: Run) -> None:
    refused = run("augment", "show", "low_contrst,lighting=dark")
    assert refused.exit_code == 4
    assert "characteristics: 'low_contrst' is none; did you mean low_contrast?" in refused.stderr
    version = project.build_dataset("again-v", split="100/0/0").wait()
    with pytest.raises(errors.InvalidArgument) as caught:
        version.train("yolo-detect", augment="low_contrst,lighting=dark", epochs=0, validate_only=True)
    places = {one.where: one.description for one in caught.value.violations}
    assert places.keys() == {"job.parameters.augment", "job.parameters.epochs"}
    assert "environment.lighting: 'dark' is none" in places["job.parameters.augment"]


def test_without_the_extra_the_hint_names_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bloomery_augment.policy", None)
    done = run("augment", "show", "low_contrast")
    assert done.exit_code == 4
    assert "EXTRA_MISSING" in done.stderr
    assert 'pip install "bloomery[augment]"' in done.stderr
