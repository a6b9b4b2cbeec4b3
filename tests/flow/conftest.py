"""The whole product in one process, started as a user starts it: `bloomery up` on a folder of its own."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from bloomery import Client, ModelVersion, Project
from bloomery.cli import app

Run = Callable[..., Result]
SCRIPTS = Path(sys.executable).parent


class Server:
    """`bloomery up` as a process that can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a user who works with this server."""
        return {**os.environ, "BLOOMERY_DATA": str(self.folder), "NO_COLOR": "1", "COLUMNS": "200"}

    def start(self) -> None:
        """Start, and wait until it is ready."""
        started = time.monotonic()
        with (self.folder.parent / "up.log").open("ab") as log:
            self._process = subprocess.Popen(
                [SCRIPTS / "bloomery", "up"], env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        while not (self.folder / "server.json").exists():
            if self._process.poll() is not None or time.monotonic() > started + 60:
                pytest.fail((self.folder.parent / "up.log").read_text())
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask it to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(60)

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process is not None
        return self._process.pid

    def bloomery(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the command line as a user does; its output is text."""
        done = subprocess.run(
            [SCRIPTS / "bloomery", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode:
            pytest.fail(f"{arguments} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server that the tests of a session share, each with projects of its own."""
    folder = tmp_path_factory.mktemp("flow") / "data"
    folder.mkdir()
    running = Server(folder)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, not started."""
    folder = tmp_path / "data"
    folder.mkdir()
    running = Server(folder)
    yield running
    running.stop()


def connect(server: Server) -> Client:
    """A client of a server."""
    about = json.loads((server.folder / "server.json").read_text())
    return Client(about["endpoint"], token=about["token"])


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A client of the shared server."""
    with connect(server) as connected:
        yield connected


@pytest.fixture
def run(server: Server) -> Run:
    """The command line in this process, as a user of the shared server; `stdin` is what it reads."""
    environment = {"BLOOMERY_DATA": str(server.folder), "NO_COLOR": "1", "COLUMNS": "200"}
    return lambda *arguments, stdin=None: CliRunner(env=environment).invoke(app, list(map(str, arguments)), stdin)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A YOLO folder: a cat on the first image, a cat and a dog on the second, no label file for the third."""
    folder = tmp_path / "pictures"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "data.yaml").write_text("names: [cat, Big dog]\ntrain: images\n")
    for number, lines in enumerate((["0 .5 .5 .25 .25"], ["0 .25 .5 .2 .2", "1 .75 .5 .2 .2"], [])):
        Image.new("RGB", (64, 48), (number, 99, 200)).save(folder / f"images/{number}.png")
        if lines:
            (folder / f"labels/{number}.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture
def project(client: Client, pictures: Path) -> Project:
    """A project of its own with the pictures."""
    made = client.create_project(f"p-{uuid.uuid4().hex[:12]}")
    made.import_folder(pictures)
    return made


@pytest.fixture(scope="session")
def trained(server: Server, examples_dir: Path) -> Iterator[ModelVersion]:
    """A model version trained for a moment on the sample, as the training left it. It runs; it does not see much."""
    with connect(server) as client:
        project = client.create_project("trained")
        project.import_folder(examples_dir / "blood-cells")
        version = project.build_dataset("cells-v", split="official").wait()
        job = version.train("yolo-detect", base="scratch", epochs=1, imgsz=64, batch=8).wait()
        yield job.model_version()
