"""Variants of model versions."""

from typing import Self

from bloomery import errors
from bloomery._aio.base import AsyncHandle
from bloomery._fields import ModelVariantFields
from bloomery._results import Progress, Step, unseen
from bloomery._versions import RECORDING_PAUSE
from bloomery._watch import watch_job
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training

_RECORDING_SECONDS = 60.0


class AsyncModelVariant(AsyncHandle[inference.ModelVariant], ModelVariantFields):
    """A form of a model version for one runtime, precision and device."""

    async def refresh(self) -> Self:
        """Read it again."""
        request = inference.GetModelVariantRequest(name=self.name)
        self._proto = await self._session.call(self._session.models.GetModelVariant, request)
        return self

    async def wait(self, *, progress: Progress = unseen, patience: float = _RECORDING_SECONDS) -> Self:
        """Wait until it is READY: watch the job that makes it, then up to `patience` seconds for it to be recorded.

        Raises:
            OptimizeFailed: it could not be made, or gives other answers than the original.
        """
        if self.state == "PENDING" and self.proto.job:
            async for seen in watch_job(self._session, self.proto.job):
                if isinstance(seen, training.Job):
                    progress(Step("optimizing"))
                elif seen.HasField("progress"):
                    progress(Step(seen.progress.phase, round(seen.progress.fraction * 100), 100))
        deadline = self._session.clock() + patience
        while (await self.refresh()).state == "PENDING":
            if self._session.clock() > deadline:
                raise errors.OptimizeFailed(f"{self.name} is still pending", resource=self.name, reason="TIMEOUT")
            await self._session.sleep(RECORDING_PAUSE)
        if self.state == "FAILED":
            raise errors.OptimizeFailed(self.proto.reason, resource=self.name, hint=f"look at the job {self.proto.job}")
        return self

    async def delete(self) -> None:
        """Delete it."""
        request = inference.DeleteModelVariantRequest(name=self.name)
        await self._session.delete(self._session.models.DeleteModelVariant, request)
