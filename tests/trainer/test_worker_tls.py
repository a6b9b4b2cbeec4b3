"""Workers dial the trainer with TLS where its port has a certificate, and say what is wrong with theirs."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bloomery.common.v1 import Artifact
from bloomery.training.v1 import (
    JOB_KIND_TRAIN,
    JOB_STATE_FAILED,
    JOB_STATE_SUCCEEDED,
    CreateJobRequest,
    Job,
)
from bloomery_kit.objects import ObjectStore
from bloomery_trainer.launcher.process import ProcessLauncher
from bloomery_trainer.settings import Machine, Policy
from bloomery_vision.formats import FolderSource, Format, read, understand
from bloomery_vision.images import probe
from bloomery_vision.manifest import ManifestIndex, ManifestRow, ManifestShard, write_shard
from bloomery_vision.manifest_hash import content_hash
from tests.recipe_files import OWN, texts
from tests.trainer.bench import QUICK, Trainer, World, running_trainer
from tests.trainer.hand import artifact_of
from tests.trainer.neighbours import DATASET, PROJECT_UID

PER_SPLIT = {"train": 4, "val": 2, "test": 2}
TINY: dict[str, Any] = {"epochs": 1, "imgsz": 64, "batch": 4, "export": "none"}
# What cannot be mended by another try is told at the first one.
ONCE = Policy(**{**QUICK.model_dump(), "infra_retries": 0})


def issue(folder: Path, name: str, host: str = "IP:127.0.0.1") -> Path:
    """A certificate that is its own authority, beside its key."""
    made = folder / f"{name}.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=trainer", "-addext", f"subjectAltName={host}", "-days", "2"]
    subprocess.run([*command, "-keyout", made.with_suffix(".key"), "-out", made], check=True, capture_output=True)
    return made


def secured(world: World, certificate: Path, worker_python: Path) -> dict[str, Any]:
    """Settings of a trainer with that certificate, whose workers are real ones."""
    catalogue = world.folder / "real-catalogue.json"
    catalogue.write_text(json.dumps(texts(OWN)))
    return {
        "tls_certificate": certificate,
        "tls_key": certificate.with_suffix(".key"),
        "launcher": ProcessLauncher(world.launcher(worker_python=worker_python, machine=Machine())),
        "catalogue": catalogue,
        "policy": ONCE,
    }


def rows(folder: Path) -> tuple[list[ManifestRow], dict[str, bytes]]:
    """A few real images with their boxes, and their bytes by key."""
    left, found, blobs = dict(PER_SPLIT), list[ManifestRow](), dict[str, bytes]()
    source = FolderSource(folder)
    for item in read(source, understand(source, Format.VOC)):
        if item.failed or not item.split or not left.get(item.split):
            continue
        left[item.split] -= 1
        content = (folder / item.image_path).read_bytes()
        file, info = artifact_of("image", content), probe(content)
        key = f"{PROJECT_UID}/{file.digest.removeprefix('sha256:')}"
        blobs[key] = content
        found.append(
            ManifestRow(
                asset=f"projects/cells/assets/{len(found)}",
                digest=file.digest,
                logical_key=key,
                size_bytes=len(content),
                media_type=info.media_type,
                width=info.width,
                height=info.height,
                split=item.split,
                group="",
                file_name=Path(item.image_path).name,
                shapes=item.shapes,
            )
        )
    return sorted(found, key=lambda row: row.file_name), blobs


async def put_dataset(world: World, objects: ObjectStore, folder: Path) -> None:
    """Make the dataset version of the neighbours a real one."""
    images, blobs = rows(folder)
    classes = tuple(sorted({shape.label for row in images for shape in row.shapes}))
    shard = write_shard(images, classes)
    key = f"{PROJECT_UID}/datasets/v"
    index = ManifestIndex(
        content_hash=content_hash(images, task="detect", classes=classes),
        task="detect",
        classes=classes,
        project_uid=PROJECT_UID,
        read_sequence=1,
        shards=(ManifestShard(f"{key}/shard.parquet", artifact_of("shard", shard).digest, len(shard), len(images)),),
    ).to_json()
    stored: Mapping[str, bytes] = {**blobs, f"{key}/shard.parquet": shard, f"{key}/index.json": index}
    for name, content in stored.items():
        await objects.put(name, content)
    version = world.datasets.versions[DATASET]
    version.ClearField("classes")
    version.classes.extend(classes)
    digest = artifact_of("manifest", index).digest
    version.manifest.CopyFrom(Artifact(digest=digest, size_bytes=len(index), logical_key=f"{key}/index.json"))


async def training(trainer: Trainer) -> Job:
    job = Job(kind=JOB_KIND_TRAIN, recipe="recipes/yolo-detect", dataset_version=DATASET, base="scratch")
    job.parameters.update(TINY)
    return await trainer.jobs.CreateJob(CreateJobRequest(parent="projects/cells", job=job))


@pytest.mark.real_training
@pytest.mark.timeout(300)
async def test_a_real_worker_trains_over_tls(
    world: World, tmp_path: Path, examples_dir: Path, worker_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = issue(tmp_path, "trainer")
    monkeypatch.setenv("BLOOMERY_TRAINER_CA", str(certificate))
    async with running_trainer(world, **secured(world, certificate, worker_python)) as trainer:
        await put_dataset(world, trainer.app.core.objects, examples_dir / "blood-cells")
        job = await training(trainer)
        ended = await trainer.reaches(job.name, JOB_STATE_SUCCEEDED, JOB_STATE_FAILED, seconds=200)
        assert ended.state == JOB_STATE_SUCCEEDED, ended.reason
        assert ended.progress.epoch == 1
        assert "checkpoint" in {artifact.role for artifact in ended.result.artifacts}


# It believes for a minute that the certificate is being replaced, and so had better begin early.
@pytest.mark.real_training
@pytest.mark.timeout(180)
async def test_a_worker_that_does_not_trust_the_trainer_is_the_reason_of_its_job(
    world: World, tmp_path: Path, worker_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLOOMERY_TRAINER_CA", str(issue(tmp_path, "another")))
    async with running_trainer(world, **secured(world, issue(tmp_path, "trainer"), worker_python)) as trainer:
        job = await training(trainer)
        ended = await trainer.reaches(job.name, JOB_STATE_FAILED, seconds=150)
        assert ended.reason.code == "WORKER_LOST"
        assert "CERTIFICATE_VERIFY_FAILED" in ended.reason.message
        assert "BLOOMERY_TRAINER_CA" in ended.reason.hint
