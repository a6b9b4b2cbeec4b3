"""Prometheus and promtool, from Debian's package, unpacked without being installed."""

import json
import os
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from real_parts.cache import cached
from real_parts.process import answers, free_port, running

PACKAGE = "prometheus"
PROGRAMS = ("prometheus", "promtool")


@dataclass(frozen=True)
class PrometheusServer:
    """A running Prometheus: `url` has no path."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        """Return the `data` of an answer of its HTTP API.

        Raises:
            urllib.error.HTTPError: it refuses the request.
        """
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}") as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an expression at this moment."""
        result: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return result


def ensure_prometheus() -> Path:
    """Return the folder with `prometheus` and `promtool`; where the machine has none, Debian's take 100 MB, once."""
    found = [shutil.which(name) for name in PROGRAMS]
    if all(found):
        return Path(str(found[0])).parent
    return cached(PACKAGE, unpack) / "usr/bin"


def unpack(folder: Path) -> None:
    """Put what is in the package into `folder`."""
    download = ["apt-get", "download", "--quiet", PACKAGE]
    answer = subprocess.run(download, cwd=folder, capture_output=True, text=True)
    if answer.returncode != 0 and os.geteuid() == 0:
        subprocess.run(["apt-get", "update", "--quiet"], check=False, capture_output=True)
        answer = subprocess.run(download, cwd=folder, capture_output=True, text=True)
    packages = list(folder.glob("*.deb"))
    if answer.returncode != 0 or not packages:
        sys.exit(f"{PACKAGE} is neither on the PATH nor among Debian's packages; install it:\n{answer.stderr}")
    subprocess.run(["dpkg-deb", "--extract", packages[0], folder], check=True)
    packages[0].unlink()


@contextmanager
def run_prometheus(
    folder: Path, scraped: Sequence[Mapping[str, object]], rules: Sequence[Path] = (), *, every: str = "1s"
) -> Iterator[PrometheusServer]:
    """Run one that scrapes by the given `scrape_configs` and evaluates files of rules, with its data in `folder`."""
    configuration = {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": list(scraped),
    }
    file = folder / "prometheus.yaml"
    file.write_text(yaml.safe_dump(configuration))
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        str(ensure_prometheus() / "prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={url.removeprefix('http://')}",
        # Without its pages, which the package keeps elsewhere.
        f"--web.console.templates={folder}",
        f"--web.console.libraries={folder}",
    ]
    log = folder / "prometheus.log"
    with running(command, log=log, ready=lambda: answers(f"{url}/-/ready"), environment=os.environ):
        yield PrometheusServer(url)
