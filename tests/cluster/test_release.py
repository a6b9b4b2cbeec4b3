"""A release out of images alone, and what clients outside do with it while pods come and go."""

import hashlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests import measuring
from tests.cluster import scraping
from tests.cluster.conftest import image, namespace
from tests.cluster.installing import CHART, IMAGES, ROOT, SERVICES, Installation, needs_images, planned, readme_commands

# Each waits for pods on a machine that may have much else to do.
pytestmark = pytest.mark.timeout(2400)

LARGEST_CONTROL = 400_000_000
"""Bytes, compressed."""
REPLICATED = (*SERVICES, "proxy")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with namespace("release") as cluster:
        needs_images(cluster, *IMAGES.values())
        release = planned(cluster, tmp_path_factory.mktemp("release"))
        release.succeeds(release.put("install", "--atomic"))
        yield release


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """Where somebody types commands: the sample images are there."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def test_helm_test_goes_the_whole_way(release: Installation) -> None:
    said = release.succeeds(release.helm("test", "--logs", "--timeout", "15m"))
    for step in ("services", "files", "dataset version", "training by yolo-detect", "predictions by triton"):
        assert step in said
    assert "all is well" in said


def test_the_commands_of_the_readme_work_while_each_component_loses_a_pod(release: Installation, desk: Path) -> None:
    lines = readme_commands()
    assert [line.split()[1] for line in lines].count("train") == 1
    for line in lines:
        if " train " not in line:
            release.runs(line, folder=desk)
            continue
        # Base weights would come from the network.
        command, environment = f"{line} --base scratch 2>&1", release.environment()
        with subprocess.Popen(
            command, shell=True, cwd=desk, env=environment, stdout=subprocess.PIPE, text=True
        ) as train:
            assert train.stdout is not None
            said = []
            for printed in train.stdout:
                said.append(printed)
                if printed.startswith("RUNNING"):
                    release.lose_one_of_each(*REPLICATED)
        assert train.returncode == 0, "".join(said)
        assert any(printed.startswith("epoch 5/5") for printed in said), "".join(said)
        assert "SUCCEEDED\n" in said
        release.settles()
    assert (desk / "cells-yolo/data.yaml").exists()
    assert list((desk / "seen").iterdir())
    evaluated = release.runs("bloomery evaluate cells-v@1 --on cells-v@1 --project cells --follow", folder=desk)
    assert "map50" in evaluated
    release.runs("bloomery optimize cells-v@1 --to onnx-int8 --project cells", folder=desk)
    release.runs("bloomery deploy create cells --model cells-v@1 --runtime triton --project cells", folder=desk)
    asked = "bloomery predict --deployment cells --project cells --threshold 0.01 --output json"
    seen = json.loads(release.runs(f"{asked} examples/blood-cells/JPEGImages/BloodImage_00007.jpg", folder=desk))
    assert seen
    release.runs("bloomery deploy delete cells --yes --project cells", folder=desk)


def test_files_go_there_and_back_by_signed_urls_from_outside(release: Installation, desk: Path) -> None:
    sent = (ROOT / "examples/blood-cells/JPEGImages/BloodImage_00007.jpg").read_bytes()
    code = (
        "import hashlib, sys; from bloomery import Client\n"
        "with Client(project='files') as client:\n"
        "    project = client.create_project('files'); project.import_folder('examples/blood-cells')\n"
        "    for asset in project.assets():\n"
        "        if asset.display_name.endswith('BloodImage_00007.jpg'):\n"
        "            print(hashlib.sha256(asset.download('back.jpg').read_bytes()).hexdigest())"
    )
    assert release.runs(f'python -c "{code}"', folder=desk).strip() == hashlib.sha256(sent).hexdigest()


def state(release: Installation, desk: Path, job: str) -> str:
    return str(json.loads(release.runs(f"bloomery jobs show {job} --project control -o json", folder=desk))["state"])


def reaches(release: Installation, desk: Path, job: str, wanted: str) -> None:
    found = ""
    for _ in range(300):
        if (found := state(release, desk, job).removeprefix("JOB_STATE_")) == wanted:
            return
        assert found not in {"FAILED", "SUCCEEDED"}, found
        time.sleep(2)
    pytest.fail(f"{job} is {found}, not {wanted}")


def test_jobs_are_paused_resumed_and_cancelled_from_outside(release: Installation, desk: Path) -> None:
    def types(line: str) -> str:
        return release.runs(f"bloomery {line} --project control", folder=desk)

    release.runs("bloomery project create control", folder=desk)
    types("import examples/blood-cells")
    types("dataset build control-v --split 70/20/10 --seed 7 --kind detect")
    types("train control-v@1 --recipe yolo-detect --base scratch --set epochs=900 --set imgsz=64 --name long")
    reaches(release, desk, "long", "RUNNING")
    types("jobs pause long")
    reaches(release, desk, "long", "PAUSED")
    types("jobs resume long")
    reaches(release, desk, "long", "RUNNING")
    assert types("jobs logs long").strip()
    types("jobs cancel long")
    reaches(release, desk, "long", "CANCELLED")


def test_an_upgrade_keeps_credentials_and_is_rolled_back(release: Installation, desk: Path) -> None:
    before, certificate = release.secret("credentials"), release.secret("tls")
    first = release.revision()["revision"]
    changes = {"services": {"annotation": {"replicas": 3}}, "proxy": {"replicas": 1}}
    release.succeeds(release.put("upgrade", **changes))
    replicas = "jsonpath={.spec.replicas}/{.status.readyReplicas}"
    deployment = f"deployment/{release.name}-annotation"
    assert release.cluster.kubectl("get", deployment, "-o", replicas) == "3/3"
    assert (release.secret("credentials"), release.secret("tls")) == (before, certificate)
    release.runs("bloomery project list", folder=desk)
    release.succeeds(release.helm("rollback", str(first), "--wait", "--timeout", "15m"))
    assert release.cluster.kubectl("get", deployment, "-o", "jsonpath={.spec.replicas}") == "2"
    assert (release.secret("credentials"), release.secret("tls")) == (before, certificate)
    release.settles()
    release.runs("bloomery project list", folder=desk)


def test_an_upgrade_that_fails_is_taken_back_by_itself_and_nobody_notices(release: Installation, desk: Path) -> None:
    broken = {"images": {"proxy": image("there-is-no-such-image")}}
    failed = release.put("upgrade", "--atomic", "--timeout", "2m", **broken)
    assert failed.returncode != 0
    assert release.revision()["description"].startswith("Rollback to ")
    assert release.revision()["status"] == "deployed"
    release.settles()
    images = release.cluster.kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.containers[*].image}")
    assert "there-is-no-such-image" not in images
    release.runs("bloomery project list", folder=desk)


def test_images_are_small_and_run_as_a_numeric_user_on_a_root_that_is_only_read(release: Installation) -> None:
    nodes = json.loads(release.cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    sizes = {
        name: each["sizeBytes"] for node in nodes for each in node["status"]["images"] for name in each["names"] or ()
    }
    (size,) = [size for name, size in sizes.items() if name.endswith(image("control"))]
    assert size < LARGEST_CONTROL
    look = "id -u; touch /opt/x /x 2>&1 | grep -c 'Read-only file system'; head -c 400 /opt/bloomery/sbom.cdx.json"
    pod = f"deployment/{release.name}-trainer"
    said = release.cluster.kubectl("exec", pod, "--", "sh", "-c", look)
    assert said.splitlines()[:2] == ["10001", "2"]
    assert re.search(r'"bomFormat": "CycloneDX"', said)
    assert set(IMAGES) == set(release.values["images"])


# What has nothing to show while all is well, and why.
SILENT = {
    "Errors by method": "nothing fails by a fault of ours",
    "Reasons of failures": "none of these jobs failed within the time that was measured",
    "Errors of background loops": "they meet none",
    "Waiting jobs by reason": "none waits",
    "Exchanged credentials": "none changes",
    "Calls that were not let in": "all were",
    "Audit log on its way": "it is counted once a service has told access of a call",
}
UNSEEN = {"bloomery_training_waiting_jobs", "bloomery_credential_reloads_total", "nv_inference_request_failure"}
"""Metrics without a sample, for the same reasons."""


WORK = (
    "project create measured",
    "import examples/blood-cells --project measured",
    "dataset build cells --split 70/20/10 --seed 7 --kind detect --project measured",
    "train cells@1 --recipe yolo-detect --base scratch --set epochs=1 --set imgsz=64 --follow --project measured",
    "evaluate cells@1 --on cells@1 --follow --project measured",
    "deploy create measured --model cells@1 --runtime triton --project measured",
)
"""What moves each of the figures that pods of a release count."""


def test_prometheus_measures_every_pod_and_all_that_dashboards_show(
    release: Installation, desk: Path, promtool: Path, tmp_path: Path
) -> None:
    del promtool
    for line in WORK:
        release.runs(f"bloomery {line}", folder=desk)
    asked = "bloomery predict --deployment measured --project measured --output json"
    with scraping.measured(release.cluster, tmp_path) as prometheus:
        if not scraping.can_reach({"targets": [f"{prometheus.query('up')[0]['metric']['instance']}"]}):
            pytest.skip("this machine does not reach pods by their addresses")
        silent: dict[str, list[str]] = {}
        for _ in range(100):
            release.runs(f"{asked} examples/blood-cells/JPEGImages/BloodImage_00007.jpg", folder=desk)
            silent = measuring.silent_panels(prometheus, but=SILENT, numbers=False)
            if not silent and not measuring.unseen_metrics(prometheus) - UNSEEN:
                break
            time.sleep(2)
        assert silent == {}
        assert measuring.unseen_metrics(prometheus) - UNSEEN == set()
        # One that is asked for the first time may be too busy to answer at once.
        assert prometheus.query("max_over_time(up[1m]) == 0") == []
        jobs = {sample["metric"]["job"] for sample in prometheus.query("count by (job) (up)")}
        assert jobs == {*yaml.safe_load((CHART / "values.yaml").read_text())["services"], "triton", "minio"}
        assert prometheus.query("sum(max_over_time(bloomery_reconciler_leader[1m])) >= 1")
    release.runs("bloomery deploy delete measured --yes --project measured", folder=desk)
