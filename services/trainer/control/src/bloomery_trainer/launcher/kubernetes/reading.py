"""Reading the namespace: whole lists, as of now, and no more of them than `look_interval` allows."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from bloomery_kit.errors import Unavailable
from bloomery_trainer.launcher.kubernetes.api import Api, Call, RefusedError
from bloomery_trainer.launcher.kubernetes.looking import Key, Look
from bloomery_trainer.launcher.kubernetes.manifest import ATTEMPT, JOB, selector
from bloomery_trainer.launcher.kubernetes.objects import Event, Job, Listing, Object, Pod
from bloomery_trainer.settings import KubernetesLauncherSettings

JOBS, PODS, EVENTS = "jobs", "pods", "events"
WATCHED = (JOBS, PODS)
_PAGE = 500
_EVENTS_PAUSE = 5.0
_GROUPS: Mapping[str, str] = {JOBS: "/apis/batch/v1", PODS: "/api/v1", EVENTS: "/api/v1"}
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
Kind = TypeVar("Kind", bound=Object)


class Reading:
    """Lists what is this installation's. `last` is what the last look saw, `versions` which state of each list."""

    def __init__(self, api: Api, settings: KubernetesLauncherSettings, clock: Callable[[], float]) -> None:
        self._api, self._settings, self._clock = api, settings, clock
        self._looking = asyncio.Lock()
        self._next_look, self._next_events = clock(), clock()
        self._events: Mapping[str, Sequence[Event]] = {}
        self.last = Look((), (), settings.gpu_resource)
        self.versions: Mapping[str, str] = {}
        self.has_looked = asyncio.Event()

    def path(self, resource: str) -> str:
        """Where the namespace's objects of a kind are."""
        return f"{_GROUPS[resource]}/namespaces/{self._settings.namespace}/{resource}"

    async def look(self) -> Look:
        """Everything as it is now. Raise Unavailable."""
        async with self._looking:
            await asyncio.sleep(self._next_look - self._clock())
            self._next_look = self._clock() + self._settings.look_interval
            ours = {"labelSelector": selector(self._settings)}
            (jobs, jobs_version), (pods, pods_version) = await asyncio.gather(
                self._list(Listing[Job], JOBS, ours), self._list(Listing[Pod], PODS, ours)
            )
            look = Look(jobs, pods, self._settings.gpu_resource)
            if look.lacks_pods():
                # What a Job has ended with may have come between the two lists.
                pods, pods_version = await self._list(Listing[Pod], PODS, ours)
                look = Look(jobs, pods, self._settings.gpu_resource)
            self.last, self.versions = look, {JOBS: jobs_version, PODS: pods_version}
            self.has_looked.set()
            return self.last

    async def events(self, look: Look) -> Mapping[str, Sequence[Event]]:
        """Warnings about what waits without a reason, by the uid of what they are about; they may lag behind."""
        mute = look.unexplained()
        if not mute:
            self._events = {}
        elif self._clock() >= self._next_events:
            self._next_events = self._clock() + _EVENTS_PAUSE
            warnings, _ = await self._list(Listing[Event], EVENTS, {"fieldSelector": "type=Warning"})
            self._events = _by_subject(warnings, frozenset(mute))
        return self._events

    async def pods_of(self, key: Key) -> Sequence[Pod]:
        """The pods of one attempt, the oldest first."""
        query = {"labelSelector": f"{selector(self._settings)},{JOB}={key[0]},{ATTEMPT}={key[1]}"}
        pods, _ = await self._list(Listing[Pod], PODS, query)
        return Look((), pods, self._settings.gpu_resource).pods[key]

    async def _list(self, kind: type[Listing[Kind]], resource: str, query: Mapping[str, str]) -> tuple[list[Kind], str]:
        """All objects of a kind, page by page of one state, and the version of that state."""
        found: list[Kind] = []
        following = ""
        while True:
            page: dict[str, str | int] = {**query, "limit": _PAGE, **({"continue": following} if following else {})}
            answer = await self._ask(Call("list", "GET", resource, self.path(resource), page))
            listing = await asyncio.to_thread(kind.model_validate_json, answer)
            found += listing.items
            following = listing.metadata.continue_
            if not following:
                return found, listing.metadata.resource_version

    async def _ask(self, call: Call) -> bytes:
        try:
            return await self._api.call(call)
        except RefusedError as refused:
            # Whoever runs the installation has to mend it; until then nothing can be said of any job.
            raise Unavailable(
                "CLUSTER_UNAVAILABLE", f"the API server refuses to list {call.resource}: {refused}"
            ) from refused


def _by_subject(events: Sequence[Event], wanted: frozenset[str]) -> Mapping[str, Sequence[Event]]:
    found: dict[str, list[Event]] = defaultdict(list)
    for event in sorted(events, key=lambda event: event.last_timestamp or _LONG_AGO):
        if event.involved_object.uid in wanted:
            found[event.involved_object.uid].append(event)
    return found
