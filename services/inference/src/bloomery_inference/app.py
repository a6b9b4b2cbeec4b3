"""Wiring of the inference service, the same in a process of its own and in the embedded server."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Self

from bloomery.annotation.v1 import AnnotationServiceStub
from bloomery.dataset.v1 import DatasetServiceStub
from bloomery.inference.v1 import (
    add_DeploymentServiceServicer_to_server,
    add_ModelServiceServicer_to_server,
    add_PredictionServiceServicer_to_server,
    add_ServingServiceServicer_to_server,
)
from bloomery.training.v1 import JobServiceStub
from bloomery_inference import housekeeping, parked, pending
from bloomery_inference.agent.local import LocalReplica
from bloomery_inference.aliases import Aliases
from bloomery_inference.cards import Cards
from bloomery_inference.comparing import Comparing
from bloomery_inference.files import ModelCache
from bloomery_inference.follower import RESULTS_LOOP, Follower
from bloomery_inference.housekeeping import Housekeeper
from bloomery_inference.images import ImageSource
from bloomery_inference.loading import LoadedModels
from bloomery_inference.optimizing import Optimizer
from bloomery_inference.outdoing import Outdoing
from bloomery_inference.parked import Parked
from bloomery_inference.pending import Pending
from bloomery_inference.prediction_service import PredictionServicer
from bloomery_inference.predictor import Predictor
from bloomery_inference.recording import Recorder
from bloomery_inference.registry import Registry
from bloomery_inference.releasing import Releasing
from bloomery_inference.remembered import Remembered
from bloomery_inference.runtime import open_runtime
from bloomery_inference.service import ModelServicer
from bloomery_inference.serving import rollout
from bloomery_inference.serving.comparing import LOOP as COMPARISONS_LOOP
from bloomery_inference.serving.comparing import Cases, Comparer
from bloomery_inference.serving.deployment_service import DeploymentServicer
from bloomery_inference.serving.deployments import Deployments
from bloomery_inference.serving.plans import Plans
from bloomery_inference.serving.replicas import Replicas
from bloomery_inference.serving.rollout import Rollouts
from bloomery_inference.serving.routing import Router
from bloomery_inference.serving.running import Clients
from bloomery_inference.serving.service import ServingServicer
from bloomery_inference.settings import InferenceSettings, OnnxSettings
from bloomery_inference.streaming import Streams
from bloomery_inference.versions import Versions
from bloomery_kit.access import access_channel
from bloomery_kit.audit import Auditing
from bloomery_kit.clients import neighbour
from bloomery_kit.credentials import database_passwords
from bloomery_kit.database import Database
from bloomery_kit.feeds import Notifier
from bloomery_kit.loops import Loops
from bloomery_kit.migrations import check_schema, migrate
from bloomery_kit.objects import ObjectStore, open_object_store
from bloomery_kit.server import ServiceHost

MESSAGE_BYTES = 64 << 20
"""The largest message of a server that has this service: images come inside of requests."""
MIGRATIONS = Path(__file__).parent / "migrations"
SCHEMA = "inference"
_IDEMPOTENT = (
    "bloomery.annotation.v1.AnnotationService",
    "bloomery.dataset.v1.DatasetService",
    "bloomery.training.v1.JobService",
)


class InferenceApp:
    """The service's parts; `open`, `register`, `start`, `close` in this order."""

    def __init__(
        self, settings: InferenceSettings, db: Database, objects: ObjectStore, *, draining: asyncio.Event
    ) -> None:
        self._db = db
        self._channels = {
            target: neighbour(target, settings, retryable=_IDEMPOTENT)
            for target in {settings.annotation_target, settings.dataset_target, settings.trainer_target}
        }
        self._access = access_channel(settings)
        self._audit = Auditing("inference", db, self._access)
        jobs = JobServiceStub(self._channels[settings.trainer_target])
        datasets = DatasetServiceStub(self._channels[settings.dataset_target])
        annotations = AnnotationServiceStub(self._channels[settings.annotation_target])
        changed = Notifier()
        self._runtime = open_runtime(settings.runtime)
        releasing = Releasing(datasets, annotations)
        registry = Registry(db, releasing=releasing, changed=changed)
        optimizer = Optimizer(db, registry, jobs=jobs, changed=changed)
        files = ModelCache(objects, settings.cache_dir, limit=settings.cache_bytes)
        loaded = LoadedModels(files, self._runtime, limit=settings.loaded_models)
        predictor = Predictor(
            loaded,
            running=settings.running_predictions,
            waiting=settings.waiting_predictions,
            waiting_bytes=settings.waiting_bytes,
            decoding_bytes=settings.decoding_bytes,
        )
        comparing = Comparing(jobs, objects)
        self._models = ModelServicer(
            registry,
            optimizer,
            Versions(db, jobs),
            Aliases(db, Outdoing(db, comparing)),
            Cards(db, datasets),
            comparing,
            objects,
        )
        images = ImageSource(annotations, objects, max_bytes=settings.max_image_bytes)
        streams = Streams(
            draining,
            streams=settings.prediction_streams,
            frames=settings.stream_frames,
            held_bytes=settings.waiting_bytes,
        )
        rollouts = Rollouts(
            db,
            changed=changed,
            silence=settings.replica_silence,
            drain=settings.drain_seconds,
            interval=settings.rollout_interval,
        )
        deployments = Deployments(db, rollouts, changed=changed)
        self._clients = Clients(patience=settings.replica_patience)
        cases = Cases(percent=settings.compared_percent)
        router = Router(Remembered(db, deployments.served), predictor, loaded, self._clients, cases)
        versions = Remembered(db, partial(registry.get_version, field="model_version"))
        self._predictions = PredictionServicer(versions, images, predictor, router, streams)
        beat = settings.replica_silence / 3
        serving_plans = Plans(db, changed=changed, draining=draining)
        replicas = Replicas(db, changed=changed)
        self._serving = ServingServicer(serving_plans, replicas, objects, beat=beat)
        self._deployments = DeploymentServicer(deployments, changed=changed, draining=draining)
        recorder = Recorder(db, datasets=datasets, annotations=annotations)
        follower = Follower(db, recorder, jobs=jobs, changed=changed)
        parking = Parked(db, recorder, jobs=jobs, changed=changed)
        waiting = Pending(db, jobs=jobs, changed=changed, interval=settings.pending_interval)
        housekeeper = Housekeeper(db, objects, jobs=jobs, releasing=releasing, annotations=annotations)
        self.loops = Loops()
        self.loops.add(RESULTS_LOOP, follower.follow_results, settings.results_retry)
        self.loops.add(parked.LOOP, parking.try_again, parking.pause)
        self.loops.add(pending.LOOP, waiting.settle, waiting.pause)
        self.loops.add(rollout.LOOP, rollouts.move, rollouts.pause)
        self.loops.add(COMPARISONS_LOOP, Comparer(db, cases, router).compare_next, 0.0)
        tidying = partial(changed.listen(housekeeping.CLEANUPS).wait, settings.tidy_interval)
        self.loops.add(housekeeping.LOOP, housekeeper.tidy, tidying)
        self._audit.add_to(self.loops)
        if isinstance(settings.runtime, OnnxSettings):
            self.local = LocalReplica(
                serving_plans,
                replicas,
                loaded,
                changed=changed,
                replica_id=settings.replica_id,
                poll=settings.plan_poll,
                beat=beat,
            )
            self.local.add_to(self.loops)

    @classmethod
    async def open(cls, settings: InferenceSettings, *, draining: asyncio.Event) -> Self:
        """Connect, and bring the schema up to date."""
        db = Database.connect(settings.database_url, SCHEMA, passwords=database_passwords(settings))
        await migrate(db, MIGRATIONS)
        await asyncio.to_thread(settings.cache_dir.mkdir, parents=True, exist_ok=True)
        return cls(settings, db, open_object_store(settings.object_store), draining=draining)

    def register(self, host: ServiceHost) -> None:
        """Put the servicers on a server."""
        host.add(
            add_ModelServiceServicer_to_server,
            self._models,
            "bloomery.inference.v1.ModelService",
            ready=self._ready,
            audit=self._audit.log,
        )
        host.add(
            add_PredictionServiceServicer_to_server,
            self._predictions,
            "bloomery.inference.v1.PredictionService",
            ready=self._ready,
        )
        host.add(
            add_DeploymentServiceServicer_to_server,
            self._deployments,
            "bloomery.inference.v1.DeploymentService",
            ready=self._ready,
            audit=self._audit.log,
        )
        host.add(
            add_ServingServiceServicer_to_server,
            self._serving,
            "bloomery.inference.v1.ServingService",
            ready=self._ready,
        )

    async def start(self) -> None:
        """Begin to follow the trainer's results."""
        self.loops.start()

    async def close(self) -> None:
        """Stop following and give everything back."""
        await self.loops.close()
        await self._runtime.close()
        await self._clients.close()
        await self._audit.close()
        for channel in filter(None, (*self._channels.values(), self._access)):
            await channel.close()
        await self._db.close()

    async def _ready(self) -> None:
        self.loops.check_ready()
        await check_schema(self._db, MIGRATIONS)
