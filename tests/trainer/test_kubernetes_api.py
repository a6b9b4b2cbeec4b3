"""An API server that is slow, away, or has forgotten: what the launcher of a cluster makes of it.

The server here injects faults only; what a real one answers is tested on one, in tests/cluster.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bloomery_kit.errors import Unavailable
from bloomery_trainer import metrics
from bloomery_trainer.launcher import LaunchError
from bloomery_trainer.launcher.kubernetes.launcher import KubernetesLauncher
from bloomery_trainer.settings import KubernetesLauncherSettings
from tests.trainer.test_kubernetes_manifest import ORDER

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def listing(*items: object, version: str = "7", following: str = "") -> web.Response:
    return web.json_response({"metadata": {"resourceVersion": version, "continue": following}, "items": items})


def refusal(status: int, message: str, reason: str = "") -> web.Response:
    return web.json_response({"kind": "Status", "reason": reason, "message": message}, status=status)


@dataclass
class Faults:
    """What the server answers, by what it is asked; empty lists where a test says nothing."""

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[web.BaseRequest] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request)
        what = "watch" if "watch" in request.query else request.method.lower()
        if given := self.answers.get(f"{what} {request.path.rpartition('/')[2]}"):
            return await given(request)
        return listing()


@pytest.fixture
async def faults() -> Faults:
    return Faults()


@pytest.fixture
async def launcher(faults: Faults, tmp_path: Path) -> AsyncIterator[KubernetesLauncher]:
    async with running(faults) as port:
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "c"}}
        user = {"name": "c", "user": {"token": "t"}}
        config = {"clusters": [cluster], "contexts": [context], "users": [user], "current-context": "c"}
        (tmp_path / "config").write_text(json.dumps(config))
        settings = KubernetesLauncherSettings(
            kind="kubernetes",
            namespace="jobs",
            image="i",
            kubeconfig=tmp_path / "config",
            look_interval=0,
            request_timeout=0.5,
            watch_seconds=1,
        )
        launcher = KubernetesLauncher(settings)
        yield launcher
        await launcher.close()


@asynccontextmanager
async def running(faults: Faults) -> AsyncIterator[int]:
    server = web.Server(faults.answer, handler_cancellation=True)
    runner = web.ServerRunner(server, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def never(_request: web.BaseRequest) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


def saying(status: int, message: str, reason: str = "") -> Answer:
    async def answer(_request: web.BaseRequest) -> web.StreamResponse:
        return refusal(status, message, reason)

    return answer


def streaming(*lines: object, then: Callable[[], Awaitable[object]] | None = None) -> Answer:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for line in lines:
            await response.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        if then is not None:
            await then()
        return response

    return answer


def restarts(reason: str) -> float:
    value: float = metrics.K8S_WATCH_RESTARTS.labels(reason)._value.get()
    return value


@pytest.mark.parametrize("status", [429, 500, 503, 504])
async def test_a_server_that_is_away_is_no_news_of_jobs(
    faults: Faults, launcher: KubernetesLauncher, status: int
) -> None:
    faults.answers["get pods"] = saying(status, "later")
    with pytest.raises(Unavailable) as caught:
        await launcher.observe()
    assert caught.value.reason == "CLUSTER_UNAVAILABLE"


async def test_a_server_that_swallows_everything_holds_nobody(faults: Faults, launcher: KubernetesLauncher) -> None:
    faults.answers["get jobs"] = never
    with pytest.raises(Unavailable, match="TimeoutError"):
        await launcher.observe()


async def test_a_server_that_is_not_there_is_away(faults: Faults, launcher: KubernetesLauncher, tmp_path: Path) -> None:
    config = (tmp_path / "config").read_text()
    (tmp_path / "config").write_text(config.replace("127.0.0.1:", "127.0.0.2:"))
    with pytest.raises(Unavailable):
        await launcher.observe()


async def test_an_account_that_may_not_look_is_told(faults: Faults, launcher: KubernetesLauncher) -> None:
    faults.answers["get jobs"] = saying(403, 'User "x" cannot list resource "jobs"', "Forbidden")
    with pytest.raises(Unavailable, match="cannot list"):
        await launcher.observe()


async def test_long_lists_come_in_pages_of_one_state(faults: Faults, launcher: KubernetesLauncher) -> None:
    def job(attempt: int) -> dict[str, Any]:
        return {"metadata": {"labels": {"bloomery.dev/job": "u", "bloomery.dev/attempt": str(attempt)}}}

    async def pages(request: web.BaseRequest) -> web.StreamResponse:
        first = "continue" not in request.query
        return listing(job(1), following="next") if first else listing(job(2))

    faults.answers["get jobs"] = pages
    assert [thing.attempt for thing in await launcher.observe()] == [1, 2]
    asked = [request.query for request in faults.asked if not request.path.endswith("/events")]
    assert {query["labelSelector"] for query in asked} == {
        "app.kubernetes.io/managed-by=bloomery-trainer,app.kubernetes.io/instance=bloomery"
    }
    assert "resourceVersion" not in faults.asked[0].query


async def test_the_pod_of_a_job_that_failed_between_the_two_lists_is_looked_for_again(
    faults: Faults, launcher: KubernetesLauncher
) -> None:
    labels = {"bloomery.dev/job": "u", "bloomery.dev/attempt": "1"}
    failed = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
    ended = {"name": "worker", "state": {"terminated": {"exitCode": 42}}}
    lists = iter(
        [
            listing(),
            listing({"metadata": {"labels": labels}, "status": {"phase": "Failed", "containerStatuses": [ended]}}),
        ]
    )

    async def jobs(_request: web.BaseRequest) -> web.StreamResponse:
        return listing({"metadata": {"labels": labels}, "status": failed})

    async def pods(_request: web.BaseRequest) -> web.StreamResponse:
        return next(lists)

    faults.answers |= {"get jobs": jobs, "get pods": pods}
    (thing,) = await launcher.observe()
    assert (thing.exit_code, thing.reason) == (42, None)


@pytest.mark.parametrize(
    ("status", "message", "code", "retriable"),
    [
        (403, 'User "x" cannot create resource "jobs"', "CONFIG_ERROR", False),
        (404, 'namespaces "jobs" not found', "CONFIG_ERROR", False),
        (422, "Job is invalid: spec.template.spec.tolerations", "CONFIG_ERROR", False),
        (403, "exceeded quota: q, requested: count/jobs.batch=1", "LAUNCH_FAILED", True),
        (400, 'admission webhook "w" denied the request', "LAUNCH_FAILED", True),
    ],
)
async def test_a_refused_job_says_why(
    faults: Faults, launcher: KubernetesLauncher, status: int, message: str, code: str, *, retriable: bool
) -> None:
    faults.answers["post jobs"] = saying(status, message)
    with pytest.raises(LaunchError) as caught:
        await launcher.launch(ORDER)
    reason = caught.value.reason
    assert (reason.code, reason.retriable, message in reason.message) == (code, retriable, True)


async def test_a_job_whose_making_was_not_heard_of_is_made_again(faults: Faults, launcher: KubernetesLauncher) -> None:
    faults.answers["post jobs"] = never
    with pytest.raises(Unavailable):
        await launcher.launch(ORDER)


async def test_anothers_job_of_that_name_is_not_taken_for_ours(faults: Faults, launcher: KubernetesLauncher) -> None:
    async def found(_request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"metadata": {"name": "bl-0123-2"}})

    faults.answers |= {"post jobs": saying(409, "already exists"), "get bl-0123-2": found}
    with pytest.raises(LaunchError):
        await launcher.launch(ORDER)


class TestWatches:
    async def follow(self, launcher: KubernetesLauncher) -> int:
        """How often a turn of the watches has told that there may be something new."""
        told: list[None] = []
        await launcher.observe()
        await launcher.follow(lambda: told.append(None))
        return len(told)

    async def test_a_change_is_told(self, faults: Faults, launcher: KubernetesLauncher) -> None:
        faults.answers["watch jobs"] = streaming()
        faults.answers["watch pods"] = streaming({"type": "MODIFIED", "object": {}})
        before = restarts("agreed")
        assert await self.follow(launcher) == 1
        assert restarts("agreed") == before + 2
        watched = [request for request in faults.asked if "watch" in request.query]
        assert {request.query["resourceVersion"] for request in watched} == {"7"}

    async def test_a_watch_that_says_nothing_any_more_is_given_up(
        self, faults: Faults, launcher: KubernetesLauncher
    ) -> None:
        faults.answers["watch pods"] = faults.answers["watch jobs"] = streaming(then=asyncio.Event().wait)
        before = restarts("timeout")
        assert await self.follow(launcher) == 2
        assert restarts("timeout") == before + 2

    async def test_a_watch_that_nobody_answers_is_given_up(self, faults: Faults, launcher: KubernetesLauncher) -> None:
        faults.answers["watch pods"] = faults.answers["watch jobs"] = never
        assert await self.follow(launcher) == 2

    @pytest.mark.parametrize(
        "answer",
        [
            saying(410, "too old resource version", "Expired"),
            streaming({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}),
        ],
    )
    async def test_what_is_too_old_to_be_watched_is_looked_at(
        self, faults: Faults, launcher: KubernetesLauncher, answer: Answer
    ) -> None:
        faults.answers["watch pods"] = faults.answers["watch jobs"] = answer
        before = restarts("gone")
        assert await self.follow(launcher) == 2
        assert restarts("gone") == before + 2

    async def test_a_server_that_goes_away_in_the_middle_is_asked_again(
        self, faults: Faults, launcher: KubernetesLauncher
    ) -> None:
        async def cut(request: web.BaseRequest) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b'{"type":')
            assert request.transport is not None
            request.transport.abort()
            return response

        faults.answers["watch pods"] = faults.answers["watch jobs"] = cut
        before = restarts("error")
        assert await self.follow(launcher) >= 2
        assert restarts("error") == before + 2
