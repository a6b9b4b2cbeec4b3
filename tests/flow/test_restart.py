"""Training goes on while the server is away, and nobody who watches notices more than a pause."""

import threading
import time
from pathlib import Path

import pytest

from bloomery import Client, Job
from tests.flow.conftest import Server, connect

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(600)]
EPOCHS = 4


def start_training(client: Client, examples_dir: Path) -> Job:
    project = client.create_project("restarts")
    project.import_folder(examples_dir / "blood-cells")
    version = project.build_dataset("restart-v", split="official").wait()
    return version.train("yolo-detect", base="scratch", epochs=EPOCHS, imgsz=64, batch=8, export="none")


def test_a_job_and_its_watcher_survive_a_crash_and_a_restart_of_the_server(
    own_server: Server, examples_dir: Path
) -> None:
    own_server.start()
    with connect(own_server) as client:
        job = start_training(client, examples_dir)
        seen: list[int] = []
        epochs: list[int] = []

        def watch() -> None:
            for event in job.watch():
                seen.append(event.sequence)
                if event.kind == "metrics" and event.proto.metrics.epoch_end:
                    epochs.append(event.proto.metrics.epoch)

        watcher = threading.Thread(target=watch)
        watcher.start()
        deadline = time.monotonic() + 120
        while not epochs and time.monotonic() < deadline:
            time.sleep(0.1)
        own_server.kill()
        time.sleep(1)
        own_server.start()
        watcher.join(300)
        assert not watcher.is_alive()
        assert seen == sorted(set(seen))
        assert epochs == list(range(1, EPOCHS + 1))
        assert job.refresh().state == "SUCCEEDED"
        assert job.proto.attempt == 1
        assert job.model_version().proto.lineage.job == job.name


def test_a_cancelled_job_stops_with_nothing_left_running(own_server: Server, examples_dir: Path) -> None:
    own_server.start()
    with connect(own_server) as client:
        job = start_training(client, examples_dir)
        for event in job.watch():
            if event.kind == "progress" and event.proto.progress.phase == "training":
                break
        job.cancel()
        states = [event.state for event in job.watch() if event.state]
        assert states[-1] == "CANCELLED"
        assert not workers(own_server)
        assert not list(client.models())


def workers(server: Server) -> list[int]:
    import psutil

    folder = str(server.folder)
    found = []
    for process in psutil.process_iter(["environ"]):
        environment = process.info["environ"] or {}
        if environment.get("BLOOMERY_WORK_DIR", "").startswith(folder):
            found.append(process.pid)
    return found
