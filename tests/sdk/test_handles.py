"""The client reads like the domain, blocking and asynchronous alike."""

import inspect
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bloomery
from bloomery import AsyncClient, Client, errors
from bloomery.annotation import v1 as annotation
from bloomery.dataset import v1 as dataset
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training
from bloomery_kit import errors as served
from tests.sdk import world
from tests.sdk.fake import Fake, Hang, numbered


@pytest.fixture(autouse=True)
def settled(fake: Fake) -> None:
    world.settle(fake)


def test_the_whole_job_reads_like_the_domain(fake: Fake, client: Client, tmp_path: Path) -> None:
    project = client.create_project("cells", display_name="Blood cells")
    version = project.build_dataset("cells-v", split="70/20/10", seed=7, class_mapping={"rbc": "RBC"}).wait()
    job = version.train("yolo-detect", epochs=5, imgsz=320, optimizer="sgd", model="cells-m", base="scratch").wait()
    model = job.model_version()
    variant = model.optimize("onnx").wait()
    prediction = model.predict(b"image", threshold=0.5, classes=["RBC"])

    [spec] = [call.dataset_version.spec for call in fake.calls["CreateDatasetVersion"]]
    assert spec.split == dataset.SplitPolicy(
        method=dataset.SplitPolicy.METHOD_RATIO, train_percent=70, val_percent=20, test_percent=10, seed=7
    )
    assert (spec.source, dict(spec.class_mapping), spec.include_empty) == ("projects/cells", {"rbc": "RBC"}, True)
    [created] = [call.job for call in fake.calls["CreateJob"]]
    assert dict(created.parameters) == {"epochs": 5, "imgsz": 320, "optimizer": "sgd"}
    assert (created.recipe, created.model) == ("recipes/yolo-detect", "projects/cells/models/cells-m")
    assert (created.base, created.dataset_version) == ("scratch", world.VERSION.name)
    assert job.state == "SUCCEEDED"
    assert variant.parity.passed
    assert [shape.label for shape in prediction.shapes] == ["RBC"]
    [asked] = fake.calls["Predict"]
    assert (asked.image, asked.threshold, list(asked.classes)) == (b"image", 0.5, ["RBC"])
    assert not asked.HasField("iou_threshold")


def test_a_handle_of_a_closed_client_says_so(fake: Fake) -> None:
    with Client(fake.endpoint) as client:
        project = client.project("cells")
    uses: tuple[Callable[[], object], ...] = (
        project.refresh,
        project.delete,
        lambda: list(project.labels()),
        lambda: client.project("cells"),
    )
    for use in uses:
        with pytest.raises(errors.ClientClosed, match="the client is closed"):
            use()


async def test_an_asynchronous_handle_of_a_closed_client_says_so(fake: Fake) -> None:
    async with AsyncClient(fake.endpoint) as client:
        project, job = await client.project("cells"), await client.job("projects/cells/jobs/j1")
    with pytest.raises(errors.ClientClosed):
        await project.refresh()
    with pytest.raises(errors.ClientClosed):
        await job.wait()


async def test_the_same_with_await(aclient: AsyncClient) -> None:
    project = await aclient.create_project("cells")
    version = await (await project.build_dataset("cells-v", split="official")).wait()
    job = await (await version.train("yolo-detect", epochs=5)).wait()
    model = await job.model_version()
    assert (await (await model.optimize()).wait()).state == "READY"
    assert [label.id async for label in project.labels()] == ["rbc"]


def test_every_asynchronous_method_has_its_blocking_twin() -> None:
    pairs = [(getattr(bloomery, name), getattr(bloomery, f"Async{name}")) for name in ("Client", *HANDLES)]
    for blocking, asynchronous in pairs:
        missing = {name for name in dir(asynchronous) if not name.startswith("_")} - {"connect"} - set(dir(blocking))
        assert missing == set(), blocking
        for name in vars(blocking):
            if not name.startswith("_") and name != "close":
                face, twin = getattr(blocking, name), getattr(asynchronous, name)
                assert face.__doc__ == twin.__doc__
                assert isinstance(face, property) or inspect.signature(face) == inspect.signature(twin)


HANDLES = (
    "Project",
    "Label",
    "Asset",
    "Import",
    "Dataset",
    "DatasetVersion",
    "Job",
    "Recipe",
    "Model",
    "ModelVersion",
    "ModelVariant",
)


def test_everything_public_is_there() -> None:
    for name in bloomery.__all__:
        assert getattr(bloomery, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        bloomery.Nothing  # type: ignore[attr-defined]  # noqa: B018


def test_a_listing_reads_page_after_page(fake: Fake, client: Client) -> None:
    def listed(request: annotation.ListAssetsRequest) -> annotation.ListAssetsResponse:
        found = [annotation.Asset(name=f"projects/cells/assets/a{n}") for n in range(5)]
        page, token = numbered(found, request)
        return annotation.ListAssetsResponse(assets=page, next_page_token=token)

    fake.answer("ListAssets", listed)
    assets = client.project("cells").assets(filter="annotated")
    assert next(assets).id == "a0"
    assert len(fake.calls["ListAssets"]) == 1
    assert [asset.id for asset in assets] == ["a1", "a2", "a3", "a4"]
    assert {call.filter for call in fake.calls["ListAssets"]} == {"annotated"}


@pytest.mark.parametrize("split", ["", "70/30", "70/20/20", "a/b/c", "-10/100/10", "Official"])
def test_a_split_that_is_none_is_refused_here(client: Client, split: str) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        client.project("cells").build_dataset("d", split=split)
    assert "70/20/10" in caught.value.hint


def test_images_without_shapes_are_left_out_of_classification_only(fake: Fake, client: Client) -> None:
    project = client.project("cells")
    for task in ("detect", "segment", "classify"):
        project.build_dataset("d", task=task)
    project.build_dataset("d", include_empty=False)
    assert [call.dataset_version.spec.include_empty for call in fake.calls["CreateDatasetVersion"]] == [
        True,
        True,
        False,
        False,
    ]


def test_our_own_model_is_a_base_by_its_checkpoint(fake: Fake, client: Client) -> None:
    client.dataset_version("cells-v@1").train("yolo-detect", base="cells-v@champion")
    [created] = [call.job for call in fake.calls["CreateJob"]]
    assert created.base_artifact.digest == "sha256:" + "c" * 64
    # By its number, whatever names it now.
    assert created.base == "projects/cells/models/cells-v/versions/1"
    assert fake.calls["GetModelVersion"][0].name == "projects/cells/models/cells-v/versions/champion"


def test_a_parameter_whose_name_is_taken_goes_by_settings(fake: Fake, client: Client) -> None:
    client.dataset_version("cells-v@1").train("yolo-detect", settings={"model": "n", "epochs": 1}, epochs=2)
    assert dict(fake.calls["CreateJob"][0].job.parameters) == {"model": "n", "epochs": 2}


def test_a_model_version_that_is_not_recorded_yet_is_waited_for(fake: Fake, client: Client) -> None:
    fake.queue("FindModelVersion", *(served.NotFound("model version", "of j1") for _ in range(2)))
    assert client.job("j1").model_version().version == 1
    assert {call.job_uid for call in fake.calls["FindModelVersion"]} == {world.JOB.uid} != {""}
    fake.queue("FindModelVersion", served.NotFound("model version", "of j1"))
    with pytest.raises(errors.NotFound):
        client.job("j1").model_version(patience=-1)


@pytest.mark.parametrize(
    ("wanted", "form"),
    [
        ((), ("onnx", "")),
        (("onnx-int8",), ("onnx", "int8")),
        (("onnx-int8-dynamic",), ("onnx", "int8-dynamic")),
        (("onnx", "int8"), ("onnx", "int8")),
    ],
)
def test_a_form_is_asked_for_by_its_id(
    fake: Fake, client: Client, wanted: tuple[str, ...], form: tuple[str, str]
) -> None:
    options: dict[str, Any] = dict(zip(("format", "precision"), wanted, strict=False))
    version = client.model_version("cells-v@1")
    version.optimize(**options, on="cells-v@1", calibration_images=50)
    version.optimize(**options, on=client.dataset_version("cells-v@1"))
    asked, other = fake.calls["OptimizeModelVersion"]
    assert (asked.format, asked.precision) == form
    assert dict(asked.parameters) == {"calibration_images": 50}
    assert asked.dataset_version == other.dataset_version == world.VERSION.name


def test_the_forms_of_models_are_listed(fake: Fake, client: Client) -> None:
    fake.answer("GetModelForms", inference.GetModelFormsResponse(model_forms=[inference.ModelForm(id="onnx-fp32")]))
    assert [form.id for form in client.model_forms()] == ["onnx-fp32"]


def test_a_variant_is_waited_for_through_its_job(fake: Fake, client: Client) -> None:
    pending = inference.ModelVariant(
        name=world.VARIANT.name, state=inference.ModelVariant.STATE_PENDING, job=world.JOB.name
    )
    answers = iter([pending])
    fake.answer("OptimizeModelVersion", pending)
    fake.answer("GetModelVariant", lambda request: next(answers, world.VARIANT))
    phases: list[str] = []
    variant = client.model_version("cells-v@1").optimize().wait(progress=lambda step: phases.append(step.phase))
    assert variant.state == "READY"
    assert phases == ["optimizing", "training"]


def test_a_variant_with_other_answers_is_a_failure(fake: Fake, client: Client) -> None:
    failed = inference.ModelVariant(
        name=world.VARIANT.name,
        state=inference.ModelVariant.STATE_FAILED,
        reason="scores differ",
        job="projects/cells/jobs/o1",
    )
    fake.answer("OptimizeModelVersion", failed)
    fake.answer("GetModelVariant", failed)
    with pytest.raises(errors.OptimizeFailed, match="scores differ") as caught:
        client.model_version("cells-v@1").optimize().wait()
    assert "jobs/o1" in caught.value.hint


def test_an_image_that_cannot_be_read_is_refused_here(client: Client, tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidArgument, match="cannot be read"):
        client.model_version("cells-v@1").predict(tmp_path / "missing.jpg")


def test_an_asset_is_predicted_by_name_and_not_drawn(fake: Fake, client: Client, tmp_path: Path) -> None:
    client.model_version("cells-v@1").predict(world.ASSET)
    prediction = client.model_version("cells-v@1").predict(client.asset("a1"))
    assert [call.asset for call in fake.calls["Predict"]] == [world.ASSET.name] * 2
    with pytest.raises(errors.FailedPrecondition, match="asset"):
        prediction.save(tmp_path / "out.jpg")


def test_logs_are_read_from_a_level_on(fake: Fake, client: Client) -> None:
    assert [entry.line.message for entry in client.job("j1").logs(tail=5, level="WARNING")] == ["epoch 1 done"]
    [asked] = fake.calls["GetLogs"]
    assert (asked.tail, asked.minimum_level) == (5, training.LogLine.LEVEL_WARNING)


def test_verbs_change_the_handle(fake: Fake, client: Client) -> None:
    job = client.job("j1")
    for verb, name in ((job.cancel, "CancelJob"), (job.pause, "PauseJob"), (job.resume, "ResumeJob")):
        fake.answer(name, training.Job(name=world.JOB.name, state=training.JOB_STATE_RUNNING))
        assert verb() is job
        assert job.state == "RUNNING"
        assert fake.calls[name][0].request_id


def test_handles_of_one_resource_are_equal(client: Client) -> None:
    assert client.job("j1") == client.job("j1")
    assert client.job("j1") != client.model("cells-v")
    assert repr(client.job("j1")) == "<Job projects/cells/jobs/j1>"
    assert len({client.job("j1"), client.job("j1")}) == 1


def test_several_threads_may_use_one_client(client: Client) -> None:
    names: list[str] = []
    threads = [threading.Thread(target=lambda: names.append(client.project("cells").name)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == ["projects/cells"] * 8


def test_closing_ends_the_clients_thread(fake: Fake) -> None:
    before = set(threading.enumerate())
    client = Client(fake.endpoint)
    (own,) = (thread for thread in set(threading.enumerate()) - before if thread.name == "bloomery-client")
    client.project("cells")
    client.close()
    client.close()
    assert not own.is_alive()


def test_an_iterator_may_outlive_its_client(fake: Fake, recwarn: pytest.WarningsRecorder) -> None:
    client = Client(fake.endpoint)
    left = client.jobs()
    next(left)
    client.close()
    left.close()  # type: ignore[attr-defined]
    assert list(recwarn) == []


def test_an_interrupt_stops_the_wait_and_leaves_the_client_usable(fake: Fake, client: Client) -> None:
    fake.script(
        "WatchJob", lambda request: [training.WatchJobResponse(snapshot=training.Job(name=world.JOB.name)), Hang()]
    )
    interrupt = (threading.main_thread().ident or 0, signal.SIGINT)
    threading.Timer(0.3, signal.pthread_kill, interrupt).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        for _ in client.job("j1").watch():
            pass
    assert time.monotonic() - started < 5
    assert client.project("cells").name == "projects/cells"


def test_what_holds_a_message_is_printed_in_a_line(client: Client) -> None:
    version = client.model_version("cells-v@1")
    assert repr(version.card()) == "<ModelCard of cells-v@1>"
    assert repr(version.predict(b"1")) == "<Prediction of 1 shape by cells-v@1/onnx-fp32>"
