"""Starts real workers against the fake trainer."""

import asyncio
import contextlib
import json
import os
import pickle
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from filelock import FileLock
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from bloomery.training.v1 import Job, JobKind, Parameter, Recipe
from bloomery.vision.v1 import TaskType
from bloomery_worker.messages import Value
from bloomery_worker.process import LOG_FILE, TrainerProcess
from bloomery_worker.settings import read_settings
from bloomery_worker.supervisor import supervise
from tests.worker.fake_trainer import TOKEN, FakeTrainer, serving
from tests.worker.forks import fork_trainer
from tests.worker.sample_data import Version

ROOT = Path(__file__).resolve().parents[2]
SCRIPTED = Path(__file__).parent / "scripted"
RECIPES = ROOT / "services/trainer/recipes"


@dataclass(frozen=True)
class Worker:
    """A worker that runs."""

    process: asyncio.subprocess.Process
    work_dir: Path

    async def exit_code(self, *, seconds: float = 200.0) -> int:
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    def trainer_pid(self) -> int:
        (child,) = psutil.Process(self.process.pid).children()
        return child.pid

    @property
    def last_words(self) -> dict[str, object]:
        words: dict[str, object] = json.loads((self.work_dir / "termination.json").read_text())
        return words

    @property
    def output(self) -> str:
        logs = (self.work_dir / name for name in ("worker.log", "trainer.log"))
        return "\n".join(path.read_text(errors="replace") for path in logs if path.exists())


@cache
def _declared() -> Mapping[str, Any]:
    """What the files of the recipes say, by their names."""
    files = (yaml.safe_load(path.read_text()) for path in RECIPES.rglob("recipe.yaml"))
    return {content["name"]: content for content in files}


def recipe(name: str) -> Recipe:
    """A recipe of the catalogue as the control plane hands it out, as far as the worker looks at it."""
    content = _declared()[name]
    return Recipe(
        name=f"recipes/{name}",
        version=content["version"],
        license=content["license"],
        task=TaskType.Value(f"TASK_TYPE_{content['task'].upper()}"),
        module=content["module"],
        bases=content["bases"],
        parameters=[
            Parameter(
                id=one["id"], type=Parameter.Type.Value(f"TYPE_{one['type'].upper()}"), kinds=one.get("kinds", ())
            )
            for one in content["parameters"]
        ],
    )


def defaults(name: str, kind: str) -> dict[str, Value]:
    """Every parameter of a recipe's kind of job with its default."""
    chosen = [one for one in _declared()[name]["parameters"] if kind in one.get("kinds", ["TRAIN"])]
    return {one["id"]: one["default"] for one in chosen if one["default"] is not None}


def job(recipe_name: str, kind: str, *, base: str = "", **parameters: object) -> Job:
    """A job with its effective parameters."""
    effective = Struct()
    ParseDict({**defaults(recipe_name, kind), **parameters}, effective)
    return Job(
        name="projects/cells/jobs/j0",
        uid="j0",
        kind=JobKind.Value(f"JOB_KIND_{kind}"),
        recipe=f"recipes/{recipe_name}",
        effective_parameters=effective,
        dataset_version="projects/cells/datasets/d/versions/1",
        base=base,
        model_version="" if kind in ("TRAIN", "IMPORT") else "projects/cells/models/d/versions/1",
    )


def trainer_for(job: Job, recipe: Recipe, version: Version) -> FakeTrainer:
    return FakeTrainer(job=job, recipe=recipe, manifest=version.index, classes=version.classes)


@asynccontextmanager
async def served(trainer: FakeTrainer, version: Version) -> AsyncIterator[FakeTrainer]:
    async with serving(trainer, version.blobs):
        yield trainer


@asynccontextmanager
async def running(
    trainer: FakeTrainer, folder: Path, *, token: str = TOKEN, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Worker]:
    """Starts a worker as the process launcher does; nothing of it is left behind."""
    environment = _environment(trainer, folder, token, settings or {})
    work_dir = folder / "work"
    with (work_dir / "worker.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "bloomery_worker",
            env=environment, cwd=work_dir, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield Worker(process, work_dir)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _environment(trainer: FakeTrainer, folder: Path, token: str, settings: Mapping[str, str]) -> dict[str, str]:
    """What a launcher sets, and the folders that it makes."""
    work_dir, cache_dir = folder / "work", folder / "cache"
    work_dir.mkdir(exist_ok=True)
    cache_dir.mkdir(exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "BLOOMERY_TRAINER_TARGET": trainer.target,
        "BLOOMERY_ATTEMPT_TOKEN": token,
        "BLOOMERY_WORK_DIR": str(work_dir),
        "BLOOMERY_CACHE_DIR": str(cache_dir),
        "BLOOMERY_TERMINATION_FILE": str(work_dir / "termination.json"),
        "BLOOMERY_CPUS": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        **({"PYTHONPATH": str(SCRIPTED)} if trainer.recipe.module == SCRIPTED.name else {}),
        **settings,
    }


async def attempt(
    trainer: FakeTrainer,
    blobs: Mapping[str, bytes],
    folder: Path,
    *,
    code: int = 0,
    settings: Mapping[str, str] | None = None,
) -> FakeTrainer:
    """Does an attempt that ends with `code`, and returns the service.

    As `running` a worker does, but the supervisor is in this process, and the trainer process is forked.
    """
    async with serving(trainer, blobs):
        environment = _environment(trainer, folder, TOKEN, settings or {})

        async def spawn(work_dir: Path, _: Mapping[str, str]) -> TrainerProcess:
            return await fork_trainer(work_dir, environment)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(TrainerProcess, "spawn", spawn)
            words = await supervise(read_settings(environment))
    assert words.exit_code == code, (folder / "work" / LOG_FILE).read_text(errors="replace")
    return trainer


def scripted_trainer(version: Version, *, epochs: int, seconds: float = 0.05, **parameters: object) -> FakeTrainer:
    """The service with a job for the recipe in `scripted`."""
    effective = Struct()
    ParseDict({"epochs": epochs, "seconds": seconds, **parameters}, effective)
    job = Job(name="projects/cells/jobs/j0", uid="j0", kind=JobKind.JOB_KIND_TRAIN, effective_parameters=effective)
    recipe = Recipe(name="recipes/scripted", module="scripted", task=TaskType.TASK_TYPE_DETECT)
    return trainer_for(job, recipe, version)


TINY: Mapping[str, int] = {"epochs": 2, "imgsz": 64, "batch": 4}
"""A training of seconds."""
_LEFT = ("events", "phases", "stalled", "kept", "finished")
"""What a training leaves with the service, beside blobs."""


def trained(name: str, version: Version, shared: Path, **more: object) -> FakeTrainer:
    """The service after a training from scratch, which one of the processes that share `shared` does for all."""
    trainer = trainer_for(job(name, "TRAIN", base="scratch", **{**TINY, **more}), recipe(name), version)
    folder = shared / name
    folder.mkdir(exist_ok=True)
    left = folder / "left"
    with FileLock(folder / "lock"):
        if not left.exists():
            asyncio.run(_train(trainer, version, folder))
            left.write_bytes(pickle.dumps(({one: getattr(trainer, one) for one in _LEFT}, trainer.blobs.content)))
    state, blobs = pickle.loads(left.read_bytes())
    trainer.blobs.content.update(blobs)
    return replace(trainer, **state)


async def _train(trainer: FakeTrainer, version: Version, folder: Path) -> None:
    async with served(trainer, version), running(trainer, folder) as worker:
        code = await worker.exit_code()
        assert code == 0, worker.output
    last = int(TINY["epochs"])
    if f"checkpoint-manifest/{last}" not in trainer.kept:
        trainer.take_checkpoint(last, worker.work_dir / "checkpoints" / str(last))


async def applied(
    name: str,
    kind: str,
    source: FakeTrainer,
    version: Version,
    folder: Path,
    *,
    code: int = 0,
    variant: str = "",
    **parameters: str | float,
) -> FakeTrainer:
    """Does a job on the model, or on its `variant`, that `source` has been given, ends with `code`.

    Returns the service.
    """
    trainer = trainer_for(job(name, kind, base="", **parameters), recipe(name), version)
    given = [role for role in source.kept if role.startswith("variant/")] if variant else ["checkpoint"]
    if variant:
        trainer.job.model_variant = f"{trainer.job.model_version}/variants/{variant}"
        trainer.job.variant_artifacts.extend(source.kept[role] for role in given)
    else:
        trainer.base = source.kept["checkpoint"]
    blobs = {**version.blobs, **{source.kept[role].logical_key: source.content(role) for role in given}}
    return await attempt(trainer, blobs, folder, code=code)
