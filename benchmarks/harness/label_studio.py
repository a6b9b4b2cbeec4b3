"""Label Studio as its users run it, in an environment of its own: images and boxes over its API, into SQLite."""

import json
import os
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.labels import CLASSES, HEIGHT, WIDTH, Drawn, Labels
from harness.peer import installed
from real_parts.process import free_port, running

VERSION = "label-studio==1.23.2"
_KEY = "0123456789abcdef" * 2 + "01234567"
_AT_ONCE = 500
_START_SECONDS = 300.0
_QUIET = {
    "COLLECT_ANALYTICS": "False",
    "LATEST_VERSION_CHECK": "0",
    "FEATURE_FLAGS_OFFLINE": "true",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
}


class LabelStudio:
    """A running server; `url` is where it listens."""

    def __init__(self, url: str) -> None:
        self._url = url

    def seconds_of_import(self, labels: Labels, title: str) -> float:
        """Seconds in which a new project (a title has three letters or more) takes all boxes, 500 images a request."""
        values = "".join(f'<Label value="{one}"/>' for one in CLASSES)
        shown = '<Image name="image" value="$image"/>'
        config = f'<View>{shown}<RectangleLabels name="label" toName="image">{values}</RectangleLabels></View>'
        project = self.call("POST", "/api/projects", {"title": title, "label_config": config})["id"]
        parts = list(_parts(list(_tasks(labels))))
        started = time.monotonic()
        for part in parts:
            self.call("POST", f"/api/projects/{project}/import", part)
        seconds = time.monotonic() - started
        count = self.call("GET", f"/api/projects/{project}", None)["task_number"]
        if count != labels.count:
            raise SystemExit(f"Label Studio has {count} images")
        return seconds

    def call(self, method: str, path: str, body: object) -> Mapping[str, object]:
        """The answer to a request. Raise OSError where there is none."""
        headers = {"Authorization": f"Token {_KEY}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=600) as answer:
            found: Mapping[str, object] = json.load(answer)
            return found


@contextmanager
def label_studio(place: Path) -> Iterator[LabelStudio]:
    """Installs and starts one."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = installed(place / "label-studio", VERSION).parent / "label-studio"
    words = ["start", "--no-browser", "--port", str(port), "--host", url, "--username", "a@example.com"]
    words += ["--password", "password", "--user-token", _KEY, "--enable-legacy-api-token"]
    environment = {**os.environ, **_QUIET, "LABEL_STUDIO_BASE_DATA_DIR": str(place / "label-studio-data")}
    server = LabelStudio(url)

    def answered() -> bool:
        with suppress(OSError):
            server.call("GET", "/api/projects", None)
            return True
        return False

    log = place / "label-studio.log"
    with running([str(command), *words], log=log, ready=answered, environment=environment, patience=_START_SECONDS):
        yield server


def _parts(tasks: Sequence[object]) -> Iterator[Sequence[object]]:
    return (tasks[start : start + _AT_ONCE] for start in range(0, len(tasks), _AT_ONCE))


def _tasks(labels: Labels) -> Iterator[object]:
    of_image: defaultdict[int, list[object]] = defaultdict(list)
    for box in labels.boxes:
        of_image[box.image].append(_result(box))
    for number, name in enumerate(labels.names):
        yield {"data": {"image": f"http://127.0.0.1/{name}"}, "annotations": [{"result": of_image[number]}]}


def _result(box: Drawn) -> Mapping[str, object]:
    place = {"x": 100 * box.x / WIDTH, "y": 100 * box.y / HEIGHT}
    size = {"width": 100 * box.width / WIDTH, "height": 100 * box.height / HEIGHT}
    return {
        "from_name": "label",
        "to_name": "image",
        "type": "rectanglelabels",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": {**place, **size, "rotation": 0, "rectanglelabels": [CLASSES[box.category]]},
    }
