"""The launcher of a cluster: what it sends to the API server, and what it makes of what is there."""

import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import aiohttp

from bloomery_kit.errors import Unavailable
from bloomery_trainer import reasons
from bloomery_trainer.launcher import Launched, LaunchError, Order, logfile
from bloomery_trainer.launcher.kubernetes.api import Api, Call, RefusedError
from bloomery_trainer.launcher.kubernetes.following import Following
from bloomery_trainer.launcher.kubernetes.looking import Key, Look
from bloomery_trainer.launcher.kubernetes.manifest import CONTAINER, job_manifest, name_of
from bloomery_trainer.launcher.kubernetes.objects import Job, Metadata
from bloomery_trainer.launcher.kubernetes.reading import Reading
from bloomery_trainer.model import Reason, Resources
from bloomery_trainer.settings import KubernetesLauncherSettings

_FORBIDDEN, _GONE, _CONFLICT, _INVALID = 403, 404, 409, 422
_NO_LOG = frozenset({400, _GONE})


class KubernetesLauncher:
    """A `Launcher` whose attempts are Jobs of one namespace."""

    def __init__(self, settings: KubernetesLauncherSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._api = Api(settings)
        self._reading = Reading(self._api, settings, clock)
        self._following = Following(self._api, settings, self._reading)
        self._asked: dict[Key, float] = {}

    def capacity(self) -> Resources | None:
        """The cluster's scheduler keeps count."""
        return None

    async def free_bytes(self) -> int | None:
        """Nodes keep count."""
        return None

    async def launch(self, order: Order) -> None:
        """Create the Job."""
        manifest = job_manifest(order, self._settings)
        try:
            await self._api.call(Call("create", "POST", "jobs", self._path("jobs"), body=manifest))
        except RefusedError as refused:
            if refused.status != _CONFLICT or not await self._is_ours(order):
                raise LaunchError(_refusal(refused)) from refused

    async def observe(self) -> Sequence[Launched]:
        """List Jobs and pods, and ask for events where those leave something open."""
        look = await self._reading.look()
        events = await self._reading.events(look)
        for key in self._asked.keys() - look.jobs.keys() - look.pods.keys():
            del self._asked[key]
        return look.launched(events)

    async def stop(self, job_uid: str, attempt: int, *, grace: float) -> None:
        """Delete the Job, which is there until its pod is not, and shorten the pod's grace to `grace`."""
        key, look = (job_uid, attempt), self._reading.last
        asked = self._asked.setdefault(key, self._clock())
        job = look.jobs.get(key)
        if job is not None and job.metadata.deletion_timestamp is None:
            await self._delete("jobs", job.metadata, {"propagationPolicy": "Foreground"})
        # A node that does not answer would let nobody go on for as long as it is away.
        is_unreachable = self._clock() - asked > grace + self._settings.unreachable_after
        seconds = 0 if is_unreachable else max(1, math.ceil(grace))
        for pod in look.live(key):
            if is_unreachable or grace <= 0 or pod.metadata.deletion_timestamp is None:
                await self._delete("pods", pod.metadata, {"gracePeriodSeconds": seconds})

    async def remove(self, job_uid: str, attempt: int) -> None:
        """Delete the Job, with its pods."""
        if (job := self._reading.last.jobs.get((job_uid, attempt))) is not None:
            await self._delete("jobs", job.metadata, {"propagationPolicy": "Background"})

    async def logs(self, job_uid: str, attempt: int, *, tail: int, follow: bool = False) -> AsyncIterator[str]:
        """What the container of the attempt's last pod has printed."""
        pods = [pod for pod in (await self._reading.pods_of((job_uid, attempt))) if pod.status.container_statuses]
        if not pods:
            return
        path = f"{self._path('pods')}/{pods[-1].metadata.name}/log"
        query: dict[str, str | int] = {"container": CONTAINER, "tailLines": tail, "follow": str(follow).lower()}
        timeout = aiohttp.ClientTimeout(
            total=None if follow else self._settings.request_timeout, connect=self._settings.request_timeout
        )
        rest = b""
        try:
            async with self._api.stream(Call("get", "GET", "pods/log", path, query), timeout) as answer:
                async for text in answer.content.iter_any():
                    whole, rest = logfile.split(rest + text, over=False)
                    for line in whole:
                        yield line
        except RefusedError as refused:
            if refused.status not in _NO_LOG:
                raise
        for line in logfile.split(rest, over=True)[0]:
            yield line

    async def follow(self, tell: Callable[[], None]) -> None:
        """Watch Jobs and pods."""
        await self._following.follow(tell)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def _is_ours(self, order: Order) -> bool:
        """Whether the Job of that name is this attempt, which a launch before this one has created."""
        path = f"{self._path('jobs')}/{name_of(order.job.uid, order.attempt)}"
        found = Job.model_validate_json(await self._api.call(Call("get", "GET", "jobs", path)))
        if found.metadata.deletion_timestamp is not None:
            raise Unavailable("CLUSTER_UNAVAILABLE", f"the Job {found.metadata.name} of before is being deleted")
        return (order.job.uid, order.attempt) in Look([found], (), self._settings.gpu_resource).jobs

    async def _delete(self, resource: str, metadata: Metadata, options: Mapping[str, object]) -> None:
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": metadata.uid}, **options}
        path = f"{self._path(resource)}/{metadata.name}"
        try:
            await self._api.call(Call("delete", "DELETE", resource, path, body=body))
        except RefusedError as refused:
            # It is gone, or there is another one of that name.
            if refused.status not in (_GONE, _CONFLICT):
                raise

    def _path(self, resource: str) -> str:
        return self._reading.path(resource)


def _refusal(refused: RefusedError) -> Reason:
    if refused.status in (_FORBIDDEN, _GONE, _INVALID) and "exceeded quota" not in refused.message:
        hint = "put the launcher's settings right, or the namespace and what the trainer's account may do in it"
        return reasons.config_error(f"the cluster does not take the Job: {refused.message}", hint)
    return reasons.launch_failed(f"the cluster does not take the Job: {refused.message}")
