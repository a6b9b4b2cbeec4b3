"""Triton Inference Server, from the binaries of the `nvidia-pytriton` wheel.

The wheel has no ONNX Runtime backend: `triton_backend/model.py` is one, on Triton's Python backend, so that a model
directory that says `backend: "onnxruntime"` loads as it is.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from real_parts.cache import cached
from real_parts.process import answers, free_port, running
from real_parts.uv import ensure_uv, install_packages

# Without their dependencies: the wheel's serve pytriton, and nothing here uses that.
SERVER = "nvidia-pytriton==0.7.0"
BACKEND_PACKAGES = ("numpy==1.26.4", "onnxruntime==1.31.1")
BACKEND = Path(__file__).with_name("triton_backend")
STUB = "triton_python_backend_stub"
# numpy below 2 has wheels up to Python 3.12.
SUPPORTED_PYTHONS = ("3.11", "3.12")
PROBE = """
import sys, sysconfig
libraries, multiarch = sysconfig.get_config_vars("LIBDIR", "MULTIARCH")
print(f"{sys.version_info.major}.{sys.version_info.minor}", sys.base_prefix, libraries, multiarch or "", sep="\\n")
"""


@dataclass(frozen=True)
class HostPython:
    """The interpreter that Triton's Python backend embeds."""

    version: str
    executable: Path
    home: Path
    library_folder: Path


@dataclass(frozen=True)
class TritonServer:
    """A running Triton under explicit model control: `grpc_url`, `http_url` and `metrics_url` are host:port."""

    grpc_url: str
    http_url: str
    repository: Path
    metrics_url: str = ""


def ensure_triton() -> Path:
    """Return the folder with Triton's packages and backends; installing them takes seconds and 300 MB, once.

    Raises:
        SystemExit: when there is no Python that can host Triton's Python backend, with what to do.
    """
    host = find_host()
    return cached(folder_name(host.version), lambda folder: install(folder, host))


def folder_name(python_version: str) -> str:
    """Return the name of the cached folder: whatever changes its content is part of it."""
    return "-".join(
        ["triton", *(package.rpartition("==")[2] for package in (SERVER, *BACKEND_PACKAGES)), f"py{python_version}"]
    )


def find_host() -> HostPython:
    """Return an interpreter that can be embedded: this one, another on the PATH, or one that uv installs."""
    for name in (sys.executable, *(f"python{version}" for version in SUPPORTED_PYTHONS)):
        if host := probe(name):
            return host
    return installed_host(SUPPORTED_PYTHONS[-1])


def probe(python: str) -> HostPython | None:
    """Return what an interpreter says of itself, or None where it is missing, too new or without its shared library."""
    executable = shutil.which(python)
    if executable is None:
        return None
    answer = subprocess.run([executable, "-I", "-c", PROBE], capture_output=True, text=True)
    if answer.returncode != 0:
        return None
    version, home, libraries, multiarch = answer.stdout.splitlines()
    for folder in (Path(libraries), Path(libraries) / multiarch):
        if version in SUPPORTED_PYTHONS and (folder / f"libpython{version}.so.1.0").exists():
            return HostPython(version, Path(executable), Path(home), folder)
    return None


def installed_host(version: str) -> HostPython:
    """Return a Python of uv's own, which comes with its shared library."""
    folder = cached(f"python-{version}", lambda folder: install_python(folder, version))
    (home,) = folder.glob(f"cpython-{version}.*")
    return HostPython(version, home / f"bin/python{version}", home, home / "lib")


def install_python(folder: Path, version: str) -> None:
    """Let uv download a Python into `folder`."""
    command = [str(ensure_uv()), "python", "install", "--quiet", "--no-bin", "--install-dir", str(folder), version]
    if subprocess.run(command).returncode != 0:
        supported = " or ".join(SUPPORTED_PYTHONS)
        sys.exit(
            f"Triton for tests embeds Python {supported} with its shared library: none is on the PATH and uv could not "
            f"download one; install python{version} and libpython{version}"
        )


def install(folder: Path, host: HostPython) -> None:
    """Install the server's wheel into `folder` and make its Python backend there, with what ours imports."""
    install_packages(folder / "site", "--no-deps", SERVER, python=host.executable)
    install_packages(folder / "python", "--no-deps", *BACKEND_PACKAGES, python=host.executable)
    wheel = folder / "site/pytriton/tritonserver"
    shutil.copytree(wheel / "backends/python", folder / "python", dirs_exist_ok=True)
    shutil.copy(wheel / f"python_backend_stubs/{host.version}/{STUB}", folder / "python" / STUB)
    # The wheel carries the programs without their executable bit; uv links its files, so these are copies.
    shutil.copy(wheel / "bin/tritonserver", folder / "tritonserver")
    for program in (folder / "python" / STUB, folder / "tritonserver"):
        program.chmod(0o755)


def triton_program(folder: Path) -> Path:
    """Write a program into `folder` that is a whole server: with its environment, and its backends beside it."""
    installed = ensure_triton()
    variables = [f"{name}={shlex.quote(value)}" for name, value in environment(installed, find_host()).items()]
    command = [str(installed / "tritonserver"), f"--backend-directory={make_backends(folder, installed)}"]
    program = folder / "tritonserver"
    program.write_text(f'#!/bin/sh\nexec env -i {" ".join(variables)} {shlex.join(command)} "$@"\n')
    program.chmod(0o755)
    return program


def make_backends(folder: Path, installed: Path) -> Path:
    """Return the folder of backends that is made in `folder`."""
    backends = folder / "backends"
    backends.mkdir()
    # Triton puts this folder, and not PYTHONPATH, on the backend's module path.
    (backends / "python").symlink_to(installed / "python")
    (backends / "onnxruntime").symlink_to(BACKEND)
    return backends


@contextmanager
def run_triton(folder: Path) -> Iterator[TritonServer]:
    """Run a server with an empty model repository, its backends and its log in `folder`."""
    installed = ensure_triton()
    repository, backends = folder / "models", make_backends(folder, installed)
    repository.mkdir()
    grpc_port, http_port, metrics_port = free_port(), free_port(), free_port()
    command = [
        str(installed / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        "--model-control-mode=explicit",
        "--exit-on-error=false",
        "--strict-readiness=false",
        "--disable-auto-complete-config",
        "--exit-timeout-secs=2",
        "--allow-gpu-metrics=false",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={metrics_port}",
        "--http-address=127.0.0.1",
        f"--http-port={http_port}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={grpc_port}",
    ]
    health = f"http://127.0.0.1:{http_port}/v2/health/ready"
    variables = environment(installed, find_host())
    with running(command, log=folder / "triton.log", ready=lambda: answers(health), environment=variables):
        addresses = [f"127.0.0.1:{port}" for port in (grpc_port, http_port, metrics_port)]
        yield TritonServer(addresses[0], addresses[1], repository, addresses[2])


def environment(installed: Path, host: HostPython) -> dict[str, str]:
    """Return the server's environment: its own libraries and the embedded interpreter."""
    return {
        "PATH": os.defpath,
        "LD_LIBRARY_PATH": os.pathsep.join([str(installed / "site/nvidia_pytriton.libs"), str(host.library_folder)]),
        "PYTHONHOME": str(host.home),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
