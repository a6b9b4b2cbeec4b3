"""What a job leaves behind: its epochs, its files, and enough to do it again."""

import csv
import io
import json
import math
from collections import Counter
from pathlib import Path

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value
from PIL import Image

from bloomery import Client, Difference, errors
from bloomery.annotation import v1 as annotation
from bloomery.cli import _job_files
from bloomery.common.v1 import Artifact
from bloomery.training import v1 as training
from bloomery.vision import v1 as vision
from bloomery_kit import errors as served
from tests.sdk import world
from tests.sdk.blobs import Blobs
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake, numbered

FILES = {"checkpoint": ("best.pt", b"weights"), "variant/1/model.onnx": ("1/model.onnx", b"graph")}


def measured(sequence: int, epoch: int, loss: float, *, end: bool = True) -> training.JobEvent:
    values = {"train/box_loss": loss} | ({"val/map50": loss / 10} if epoch > 1 else {})
    report = training.MetricsReported(epoch=epoch, step=epoch * 10, values=values, epoch_end=end)
    return world.event(sequence, metrics=report, attempt=1)


def trained(name: str = "j1", **changes: object) -> training.Job:
    """A finished training with all its records; `changes` are fields in protobuf's JSON form."""
    facts = {
        "recipe": {"name": "recipes/yolo-detect", "version": "1"},
        "dataset": {"content_hash": "sha256:d"},
        "base": {"name": "yolov8n.pt", "digest": "sha256:b"},
        "device": "cpu",
    }
    said = {
        "name": f"projects/cells/jobs/{name}",
        "kind": "JOB_KIND_TRAIN",
        "state": "JOB_STATE_SUCCEEDED",
        "recipe": "recipes/yolo-detect",
        "parameters": {"epochs": 2},
        "effectiveParameters": {"epochs": 2, "seed": 7, "optimizer": "sgd", "amp": True},
        "datasetVersion": world.VERSION.name,
        "base": "yolov8n.pt",
        "model": world.MODEL.name,
        "labels": {"team": "a"},
        "resources": {"cpus": 2, "memoryBytes": "4096"},
        "result": {"details": facts, "versions": {"torch": "2.14"}, "metrics": {"test/map50": 0.9}},
    }
    return ParseDict(said | changes, training.Job())


@pytest.fixture
def epochs(fake: Fake, run: Run) -> None:
    """Two epochs, of which the second was repeated after a crash."""
    events = [
        measured(1, 0, 3.0, end=False),
        measured(2, 1, 2.0),
        measured(5, 2, 1.5),
        measured(9, 2, 0.1 + 0.2),
    ]

    def listed(request: training.ListJobEventsRequest) -> training.ListJobEventsResponse:
        page, token = numbered(events, request)
        return training.ListJobEventsResponse(events=page, next_page_token=token)

    fake.answer("ListJobEvents", listed)


@pytest.fixture
def made(fake: Fake, blobs: Blobs) -> None:
    """A job with two files, one of them in a folder."""

    def signed(request: training.SignArtifactsRequest) -> training.SignArtifactsResponse:
        found = training.SignArtifactsResponse()
        for role, (name, content) in FILES.items():
            if role in (request.roles or FILES):
                digest = blobs.keep(content)
                artifact = Artifact(role=role, file_name=name, digest=digest)
                found.artifacts.add(artifact=artifact, get=blobs.signed(digest))
        return found

    fake.answer("SignArtifacts", signed)


@pytest.mark.usefixtures("epochs")
def test_a_repeated_epoch_counts_once_and_steps_do_not_count(fake: Fake, run: Run, client: Client) -> None:
    found = client.job("projects/cells/jobs/j1").epochs()
    assert [(epoch.epoch, epoch.step, epoch.attempt) for epoch in found] == [(1, 10, 1), (2, 20, 1)]
    assert found[1].values == {"train/box_loss": 0.1 + 0.2, "val/map50": (0.1 + 0.2) / 10}
    assert fake.calls["ListJobEvents"][0].filter == "metrics"


@pytest.mark.usefixtures("epochs")
def test_epochs_are_rows_with_a_gap_where_nothing_was_measured(run: Run) -> None:
    lines = [line.split() for line in run("jobs metrics j1").stdout.splitlines()]
    assert lines == [["EPOCH", "train/box_loss", "val/map50"], ["1", "2"], ["2", "0.3", "0.03"]]
    assert json.loads(run("jobs metrics j1 -o json").stdout)[0] == {"epoch": 1, "step": 10, "train/box_loss": 2.0}


@pytest.mark.usefixtures("epochs")
def test_a_csv_of_the_epochs_has_all_digits(run: Run, tmp_path: Path) -> None:
    result = run("jobs metrics j1 --csv", str(tmp_path / "m.csv"))
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((tmp_path / "m.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert (rows[0]["val/map50"], float(rows[1]["train/box_loss"])) == ("", 0.1 + 0.2)


@pytest.mark.usefixtures("epochs")
def test_a_csv_leaves_a_hard_linked_copy_and_follows_a_link(run: Run, tmp_path: Path) -> None:
    (tmp_path / "copy.csv").write_text("before")
    (tmp_path / "m.csv").hardlink_to(tmp_path / "copy.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "m.csv")
    assert run("jobs metrics j1 --csv", str(tmp_path / "m.csv")).exit_code == 0
    assert (tmp_path / "copy.csv").read_text() == "before"
    written = (tmp_path / "m.csv").read_text()
    (tmp_path / "m.csv").write_text("")
    assert run("jobs metrics j1 --csv", str(tmp_path / "link.csv")).exit_code == 0
    assert (tmp_path / "m.csv").read_text() == written


@pytest.mark.usefixtures("made")
def test_the_files_of_a_job_are_written_below_the_folder(run: Run, tmp_path: Path) -> None:
    result = run("jobs download j1 --to", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out/best.pt").read_bytes() == b"weights"
    assert (tmp_path / "out/1/model.onnx").read_bytes() == b"graph"
    assert result.stdout.split() == [str(tmp_path / "out/best.pt"), str(tmp_path / "out/1/model.onnx")]


@pytest.mark.usefixtures("made")
def test_one_role_is_one_file(run: Run, tmp_path: Path) -> None:
    run("jobs download j1 --role checkpoint --to", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]


def test_a_file_outside_of_the_folder_is_refused(fake: Fake, run: Run, blobs: Blobs, tmp_path: Path) -> None:
    digest = blobs.keep(b"bad")
    reply = training.SignArtifactsResponse()
    reply.artifacts.add(artifact=Artifact(role="x", file_name="../x", digest=digest), get=blobs.signed(digest))
    fake.answer("SignArtifacts", reply)
    assert run("jobs download j1 --to", str(tmp_path / "out")).exit_code == 5
    assert not (tmp_path / "x").exists()


def test_a_job_without_files_says_in_which_state_it_is(fake: Fake, run: Run, tmp_path: Path) -> None:
    fake.answer("GetJob", training.Job(name=world.JOB.name, state=training.JOB_STATE_RUNNING))
    fake.answer("SignArtifacts", training.SignArtifactsResponse())
    result = run("jobs download j1 --to", str(tmp_path))
    assert result.exit_code == 3
    assert "it is RUNNING" in result.stderr


@pytest.fixture
def curves(fake: Fake, run: Run, blobs: Blobs) -> None:
    """Jobs at work with a file for TensorBoard each; a second one comes before the end."""
    looks: Counter[str] = Counter()

    def signed(request: training.SignEventFilesRequest) -> training.SignEventFilesResponse:
        looks[request.name] += 1
        digests = [blobs.keep(f"{request.name} {number}".encode()) for number in range(looks[request.name])]
        files = [
            training.SignedArtifact(
                artifact=Artifact(file_name=f"events.out.tfevents.{number}", digest=digest), get=blobs.signed(digest)
            )
            for number, digest in enumerate(digests)
        ]
        return training.SignEventFilesResponse(files=files)

    def job(request: training.GetJobRequest) -> training.Job:
        over = looks[request.name] > 0
        state = training.JOB_STATE_SUCCEEDED if over else training.JOB_STATE_RUNNING
        return training.Job(name=request.name, state=state)

    fake.answer("GetJob", job)
    fake.answer("SignEventFiles", signed)


TWO = "projects/cells/jobs/a projects/cells/jobs/b"


@pytest.mark.usefixtures("curves")
def test_curves_lie_beside_each_other_and_the_command_to_see_them_is_told(run: Run, tmp_path: Path) -> None:
    result = run(f"jobs tensorboard {TWO} --to", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "a/events.out.tfevents.0").read_text() == "projects/cells/jobs/a 0"
    assert (tmp_path / "b/events.out.tfevents.0").read_text() == "projects/cells/jobs/b 0"
    assert f"tensorboard --logdir {tmp_path}" in result.stderr


def test_a_job_that_has_nothing_to_show_is_told(fake: Fake, run: Run, tmp_path: Path) -> None:
    fake.answer("GetJob", training.Job(name=world.JOB.name, state=training.JOB_STATE_QUEUED))
    fake.answer("SignEventFiles", training.SignEventFilesResponse())
    result = run("jobs tensorboard j1 --to", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "has nothing to show: it is QUEUED" in result.stderr


@pytest.mark.usefixtures("curves")
def test_tensorboard_is_opened_and_what_comes_meanwhile_is_fetched(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin/tensorboard"
    program.parent.mkdir()
    waited = tmp_path / "out/b/events.out.tfevents.1"
    script = f'#!/bin/sh\necho "$@" > {tmp_path}/said\nwhile [ ! -f {waited} ]; do /bin/sleep 0.05; done\nexit 3\n'
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setattr(_job_files, "_SECONDS", 0.2)
    assert run(f"jobs tensorboard {TWO} --serve --to", str(tmp_path / "out")).exit_code == 3
    assert (tmp_path / "said").read_text().startswith(f"--logdir {tmp_path / 'out'}")


@pytest.mark.usefixtures("curves")
def test_while_tensorboard_is_open_a_look_that_fails_is_told_and_done_again(
    fake: Fake, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = iter(["FAILS", "RUNNING", "SUCCEEDED"])

    def job(request: training.GetJobRequest) -> training.Job:
        made = training.Job(name=request.name, state=training.JOB_STATE_RUNNING)
        if not (tmp_path / "said").exists():
            return made
        if request.name.endswith("a"):
            raise served.NotFound("job", request.name)
        state = next(states)
        if state == "FAILS":
            raise served.PermissionDenied("not just now")
        made.state = training.JobState.Value(f"JOB_STATE_{state}")
        return made

    fake.answer("GetJob", job)
    program = tmp_path / "bin/tensorboard"
    program.parent.mkdir()
    waited = tmp_path / "out/b/events.out.tfevents.2"
    program.write_text(f"#!/bin/sh\n: > {tmp_path}/said\nwhile [ ! -f {waited} ]; do /bin/sleep 0.05; done\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setattr(_job_files, "_SECONDS", 0.5)
    result = run(f"jobs tensorboard {TWO} --serve --to", str(tmp_path / "out"))
    assert result.exit_code == 3
    assert "a is not there any more" in result.stderr
    assert "b cannot be read, and is tried again: not just now" in result.stderr


@pytest.mark.usefixtures("curves")
def test_where_tensorboard_is_not_installed_it_is_told_how_to_get_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    result = run(f"jobs tensorboard {TWO} --serve --to", str(tmp_path))
    assert "TensorBoard is not installed here" in result.stderr
    assert "pip install tensorboard" in result.stderr


def test_a_reproduction_asks_for_the_same_inputs(fake: Fake, run: Run) -> None:
    fake.answer("GetJob", trained())
    result = run("reproduce j1 --name again")
    assert result.exit_code == 0, result.output
    [request] = fake.calls["CreateJob"]
    asked, before = request.job, trained()
    assert (request.parent, request.job_id) == ("projects/cells", "again")
    assert asked.parameters == before.effective_parameters
    for field in ("kind", "recipe", "dataset_version", "base", "model", "resources"):
        assert getattr(asked, field) == getattr(before, field), field
    assert dict(asked.labels) == {"team": "a", "reproduces": "j1"}
    assert not asked.HasField("base_artifact")


def test_a_base_by_digest_is_asked_for_by_digest(fake: Fake, client: Client) -> None:
    world.settle(fake)
    artifact = {"role": "checkpoint", "digest": "sha256:a", "logicalKey": "p/jobs/a"}
    fake.answer("GetJob", trained(baseArtifact=artifact))
    client.job("projects/cells/jobs/j1").reproduce()
    assert fake.calls["CreateJob"][0].job.base_artifact.digest == "sha256:a"


def test_weights_that_were_not_there_are_left_out_again(fake: Fake, client: Client) -> None:
    world.settle(fake)
    fake.answer("GetRecipe", training.Recipe(name="recipes/yolo-detect", bases=["yolov8n.pt", "yolov8s.pt"]))
    fake.answer("GetJob", trained(result={"details": {"base": {"name": "scratch", "digest": ""}}}))
    client.job("projects/cells/jobs/j1").reproduce()
    assert fake.calls["CreateJob"][0].job.base == "scratch"


def test_only_trainings_are_reproduced(fake: Fake, client: Client) -> None:
    world.settle(fake)
    fake.answer("GetJob", trained(kind="JOB_KIND_OPTIMIZE"))
    with pytest.raises(errors.InvalidArgument, match="OPTIMIZE"):
        client.job("projects/cells/jobs/j1").reproduce()
    assert "CreateJob" not in fake.calls


def test_another_version_of_the_recipe_is_told_at_once(fake: Fake, run: Run) -> None:
    fake.answer("GetJob", trained())
    fake.answer("GetRecipe", training.Recipe(name="recipes/yolo-detect", version="2"))
    assert "recipes/yolo-detect is version 2 now and was 1" in run("reproduce j1").stderr
    fake.answer("GetRecipe", training.Recipe(name="recipes/yolo-detect", version="1"))
    assert "is version" not in run("reproduce j1").stderr


def test_following_a_reproduction_ends_with_what_differs(fake: Fake, run: Run) -> None:
    facts = {"recipe": {"version": "1"}, "dataset": {"content_hash": "sha256:d"}, "device": "cpu"}
    details = facts | {"base": {"digest": "sha256:b"}}
    result = {"details": details, "versions": {"torch": "2.15"}, "metrics": {"test/map50": 0.9}}
    jobs = {"projects/cells/jobs/j1": trained(), "projects/cells/jobs/j2": trained("j2", result=result)}
    fake.answer("GetJob", lambda request: jobs[request.name])
    created = training.Job(name="projects/cells/jobs/j2", state=training.JOB_STATE_QUEUED)
    fake.answer("CreateJob", created)
    fake.script("WatchJob", world.watched(created, world.EVENTS))
    done = run("reproduce projects/cells/jobs/j1 --follow")
    assert done.exit_code == 0, done.output
    assert [line.split() for line in done.stdout.splitlines()] == [["j1", "j2"], ["torch", "2.14", "2.15"]]


def test_differences_are_those_of_inputs_versions_and_results(fake: Fake, client: Client) -> None:
    base = {"base": {"digest": "sha256:c"}, "recipe": {"version": "1"}, "dataset": {"content_hash": "sha256:d"}}
    result = {"details": base | {"device": "gpu"}, "versions": {"torch": "2.14", "numpy": "2"}, "metrics": {}}
    other = trained("j2", effectiveParameters={"epochs": 3, "seed": 7, "optimizer": "sgd"}, result=result)
    jobs = {"projects/cells/jobs/j1": trained(), "projects/cells/jobs/j2": other}
    fake.answer("GetJob", lambda request: jobs[request.name])
    first, second = (client.job(name) for name in jobs)
    assert first.differences(first) == []
    assert first.differences(second) == [
        Difference("parameter amp", "True", ""),
        Difference("parameter epochs", "2", "3"),
        Difference("base weights", "sha256:b", "sha256:c"),
        Difference("device", "cpu", "gpu"),
        Difference("numpy", "", "2"),
        Difference("test/map50", "0.9", ""),
    ]


def test_a_comparison_with_an_unfinished_job_says_what_is_missing(fake: Fake, run: Run) -> None:
    running = trained("j2", state="JOB_STATE_RUNNING")
    running.ClearField("result")
    jobs = {"projects/cells/jobs/j1": trained(), "projects/cells/jobs/j2": running}
    fake.answer("GetJob", lambda request: jobs[request.name])
    result = run(f"jobs compare {' '.join(jobs)}")
    assert result.stdout == "j1 and j2 do not differ\n"
    assert "j2 is RUNNING" in result.stderr


def test_a_recipe_that_refuses_the_old_parameters_lists_them_all(fake: Fake, run: Run) -> None:
    fake.answer("GetJob", trained())
    bad = [served.FieldViolation(f"job.parameters.{name}", "is no parameter") for name in ("amp", "optimizer")]
    fake.queue("CreateJob", served.InvalidArgument(bad))
    result = run("reproduce j1")
    assert result.exit_code == 4
    assert "job.parameters.amp: is no parameter\n  job.parameters.optimizer: is no parameter" in result.stderr


def test_the_newest_preflight_of_a_job_is_shown(fake: Fake, client: Client, run: Run) -> None:
    assert client.job("j1").preflight() is None
    assert "at most" not in run("jobs show j1").output
    older = training.PreflightReported(batch=64)
    events = [world.event(4, preflight=older), world.EVENTS[0], world.event(9, preflight=world.PREFLIGHT)]
    fake.answer("ListJobEvents", training.ListJobEventsResponse(events=events))
    assert client.job("j1").preflight() == world.PREFLIGHT
    assert fake.calls["ListJobEvents"][-1].filter == "lifecycle"
    assert "batch 16 takes 1.5 of 24.0 GiB, at most 200 fit" in run("jobs show j1").output


def test_the_energy_of_a_finished_job_is_shown(fake: Fake, client: Client, run: Run) -> None:
    assert client.job("j1").energy is None
    fake.answer("GetJob", trained(result={"details": {"energy_joules": 12_345.6}}))
    assert client.job("j1").energy == pytest.approx(12_345.6)
    assert "12.3 kJ" in run("jobs show j1").output


def test_what_a_training_made_of_its_images_is_shown(fake: Fake, client: Client, run: Run) -> None:
    assert client.job("j1").data == {}
    assert "images" not in run("jobs show j1").output
    data = {"images": {"train": 8, "val": 4, "test": 4}, "used": {"train": 8, "val": 4}, "left_out": {"crowds": 3}}
    fake.answer("GetJob", trained(result={"details": {"data": data}}))
    assert client.job("j1").data == data
    assert "8 of 8 train, 4 of 4 val, left out crowds: 3" in run("jobs show j1").output
    fake.answer("GetJob", trained(result={"details": {"data": "of a recipe that means something else"}}))
    assert client.job("j1").data == {}
    assert run("jobs show j1").exit_code == 0


@pytest.mark.parametrize(
    "value", [*(Value(number_value=one) for one in (math.nan, math.inf, 0.5)), Value(string_value="many"), Value()]
)
def test_what_another_recipe_counts_otherwise_is_left_out(fake: Fake, client: Client, run: Run, value: Value) -> None:
    finished = trained(result={"details": {"data": {"images": {"train": 8}}}})
    images = finished.result.details.fields["data"].struct_value.fields["images"]
    images.struct_value.fields["val"].CopyFrom(value)
    fake.answer("GetJob", finished)
    assert client.job("j1").data == {"images": {"train": 8}}
    assert run("jobs show j1").exit_code == 0


@pytest.fixture
def sampled(fake: Fake, run: Run, blobs: Blobs) -> None:
    """Samples of two epochs on an image."""
    out = io.BytesIO()
    Image.new("RGB", (64, 48), "white").save(out, "PNG")
    digest = blobs.keep(out.getvalue())
    asset = "projects/cells/assets/a1"

    def shown(sequence: int, epoch: int, confidence: float) -> training.JobEvent:
        shape = vision.Shape(label="rbc", confidence=confidence, box=vision.Box(x=8, y=20, width=40, height=20))
        one = training.SamplePrediction(
            asset=asset, digest=digest, file_name="a.png", width=64, height=48, shapes=[shape]
        )
        return world.event(sequence, samples=training.SamplesPredicted(epoch=epoch, samples=[one]))

    events = [shown(3, 1, 0.3), shown(7, 5, 0.6), shown(9, 5, 0.8)]
    fake.answer("ListJobEvents", training.ListJobEventsResponse(events=events))
    signed = annotation.SignedDownload(asset=asset, get=blobs.signed(digest))
    fake.answer("SignDownloads", annotation.SignDownloadsResponse(downloads=[signed]))


@pytest.mark.usefixtures("sampled")
def test_the_newest_samples_are_drawn(fake: Fake, client: Client, run: Run, tmp_path: Path) -> None:
    (sample,) = client.job("j1").samples()
    assert (sample.epoch, sample.file_name) == (5, "a.png")
    # The epoch was repeated: its last samples count.
    assert sample.shapes[0].confidence == pytest.approx(0.8)
    assert fake.calls["ListJobEvents"][-1].filter == "samples"
    result = run("jobs samples j1 --save", str(tmp_path))
    assert result.output.split() == [str(tmp_path / "0005-a.png")]
    with Image.open(tmp_path / "0005-a.png") as drawn:
        assert drawn.size == (64, 48)
        assert drawn.convert("RGB").getpixel((8, 30)) != (255, 255, 255)


@pytest.mark.usefixtures("sampled")
def test_samples_of_an_earlier_epoch_are_drawn(client: Client, run: Run, tmp_path: Path) -> None:
    assert run("jobs samples j1 --epoch 1 --save", str(tmp_path)).output.split() == [str(tmp_path / "0001-a.png")]
    with pytest.raises(errors.NotFound, match="no samples of epoch 3; there are those of epochs 1, 5"):
        client.job("j1").samples(epoch=3)


def test_a_job_without_samples_says_so(client: Client, run: Run) -> None:
    with pytest.raises(errors.NotFound, match="has no samples; there are none yet"):
        client.job("j1").samples()
