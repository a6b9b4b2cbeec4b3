"""Asking for variants, and for the jobs that make them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import grpc

from bloomery_inference.convert import source_of
from bloomery_inference.model import Variant, VariantState
from bloomery_inference.pending import PENDING
from bloomery_inference.registry import Registry
from bloomery_inference.store import models, variants
from bloomery_inference.wishes import Wish, check_schedulable, optimize_job, trial_job
from bloomery_kit.database import Database
from bloomery_kit.errors import NotFound
from bloomery_kit.feeds import Notifier
from bloomery_kit.idempotency import Repeatable
from bloomery_kit.times import Clock, utc_now
from bloomery_vision.forms import GPU

if TYPE_CHECKING:
    from bloomery.inference.v1 import ModelVariant
    from bloomery.training.v1.job_service_pb2_grpc import JobServiceAsyncStub

_HOPELESS = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION})
"""What the trainer answers to a job that it would refuse at the next try too."""


class Optimizer:
    """Writes down which variants are wanted, and creates their jobs at the trainer; `changed` is told of them."""

    def __init__(
        self,
        db: Database,
        registry: Registry,
        *,
        jobs: JobServiceAsyncStub,
        changed: Notifier,
        clock: Clock = utc_now,
    ) -> None:
        self._db = db
        self._registry = registry
        self._jobs = jobs
        self._changed = changed
        self._clock = clock

    async def optimize(
        self,
        name: str,
        wish: Wish,
        *,
        repeatable: Repeatable[ModelVariant],
        answer: Callable[[Variant], ModelVariant],
    ) -> ModelVariant:
        """Ask for a variant and the job that makes it, and `answer` with the variant.

        Raise NotFound, FailedPrecondition NO_CHECKPOINT or FORM_UNAVAILABLE, or what the trainer refuses.
        """
        answered = await repeatable.first_answer(self._db)
        if answered is None:
            answered = await self._request(name, wish, repeatable, answer)
        await self._start(answered.name)
        return answered

    async def _request(
        self, name: str, wish: Wish, repeatable: Repeatable[ModelVariant], answer: Callable[[Variant], ModelVariant]
    ) -> ModelVariant:
        version = await self._registry.get_version(name)
        source_of(version)
        if wish.form.device == GPU:
            # Only the trainer knows what there is.
            check_schedulable(wish.form, await self._jobs.CreateJob(trial_job(version, wish)))
        async with self._db.write() as tx:
            if not await models.lock_version(tx, version.uid):
                raise NotFound("model version", name, hint="it was deleted a moment ago")

            async def make() -> ModelVariant:
                await variants.request(
                    tx,
                    version,
                    wish.form,
                    parameters=wish.parameters,
                    dataset_version=wish.dataset_version,
                    now=self._clock(),
                )
                made = await variants.of_version(tx, version.uid)
                return answer(next(variant for variant in made if variant.id == wish.form.id))

            answered = await repeatable.once(tx, make)
        self._changed.notify(PENDING)
        return answered

    async def _start(self, name: str) -> None:
        """Create the job of a variant that is PENDING; its name and request id are the variant's own.

        So after a crash, at a repeat or in a race it is the same job.
        """
        with suppress(NotFound):
            version = await self._registry.get_version(name.partition("/variants/")[0])
            variant = await self._registry.get_variant(name)
            if variant.state is VariantState.PENDING:
                try:
                    await self._jobs.CreateJob(optimize_job(version, variant))
                except grpc.aio.AioRpcError as error:
                    await self._note(variant, error)
                    raise

    async def _note(self, variant: Variant, error: grpc.aio.AioRpcError) -> None:
        """End a variant whose job cannot be created as it was asked for, so that it can be asked for otherwise."""
        if error.code() in _HOPELESS:
            async with self._db.write() as tx:
                reason = f"JOB_REFUSED: {error.details()}"
                await variants.finish(tx, variant.job, result=None, reason=reason, now=self._clock())
