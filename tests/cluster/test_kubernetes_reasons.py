"""Why workers wait and end, as a real scheduler, kubelet and job controller tell it."""

import asyncio
import time
from typing import Any

import pytest

from bloomery_trainer.launcher import Launched, Launcher, LaunchError, Phase
from bloomery_trainer.launcher.kubernetes.launcher import KubernetesLauncher
from tests.cluster.conftest import Cluster, Pods
from tests.trainer.launcher_suite import SLEEP, UID, ended, printed, runs, seen, until

SECONDS = 120.0


async def launched(
    pods: Pods, line: str = SLEEP, *, resources: dict[str, Any] | None = None, **settings: Any
) -> Launcher:
    pods.script(line)
    launcher = pods.launcher(**settings)
    await launcher.launch(pods.order(**resources or {}))
    return launcher


async def waits(launcher: Launcher, code: str, *words: str) -> Launched:
    """What waits for that reason, which has the words of the part of the cluster that knows."""

    def holds(thing: Launched | None) -> bool:
        return thing is not None and thing.reason is not None and thing.reason.code == code

    began = time.monotonic()
    thing = await seen(launcher, holds, seconds=SECONDS)
    print(f"{code} is told {time.monotonic() - began:.1f} s after the launch")
    assert thing.reason is not None
    assert thing.phase is Phase.WAITING
    assert [word for word in words if word not in thing.reason.message] == []
    assert thing.reason.hint
    return thing


async def gone(launcher: Launcher) -> None:
    async def things() -> int:
        return len([*await launcher.observe()])

    await until(things, lambda count: not count, seconds=SECONDS)


async def stopped(launcher: Launcher, *, grace: float = 0) -> None:
    await launcher.observe()
    await launcher.stop(UID, 1, grace=grace)
    await gone(launcher)


async def live(cluster: Cluster, pods: Pods) -> list[str]:
    """The pods of which something may still run."""
    found = await cluster.items("pods", "-l", pods.selector)
    return [pod["metadata"]["name"] for pod in found if pod["status"]["phase"] not in ("Succeeded", "Failed")]


async def pod_of(cluster: Cluster, pods: Pods) -> Any:
    (pod,) = await cluster.items("pods", "-l", pods.selector)
    return pod


class TestWaiting:
    async def test_no_node_has_so_many_gpus(self, pods: Pods) -> None:
        launcher = await launched(pods, resources={"gpus": 64})
        await waits(launcher, "UNSCHEDULABLE_GPU", "Insufficient nvidia.com/gpu", "nodes are available")
        await stopped(launcher)

    async def test_no_node_has_so_much_memory(self, pods: Pods) -> None:
        await waits(await launched(pods, resources={"memory_bytes": 1 << 60}), "UNSCHEDULABLE_MEMORY", "Insufficient")

    async def test_no_node_has_so_many_cores(self, pods: Pods) -> None:
        launcher = await launched(pods, resources={"cpus": 5000.0}, max_cpus=None)
        await waits(launcher, "UNSCHEDULABLE_CPU", "Insufficient cpu")

    async def test_no_node_is_selected(self, pods: Pods) -> None:
        await waits(await launched(pods, node_selector={"is": "nowhere"}), "UNSCHEDULABLE_TAINT", "affinity/selector")

    async def test_an_image_that_is_not_there(self, pods: Pods) -> None:
        launcher = await launched(pods, image="localhost:1/bloomery/nothing:here")
        await waits(launcher, "IMAGE_PULL", "localhost:1/bloomery/nothing:here")
        await stopped(launcher)

    async def test_an_image_whose_name_is_none(self, pods: Pods) -> None:
        await waits(await launched(pods, image="Not A Name"), "CONFIG_ERROR", "Not A Name")

    async def test_a_secret_that_is_not_there(self, pods: Pods) -> None:
        launcher = await launched(pods, environment_secret="nothing")
        await waits(launcher, "CONFIG_ERROR", 'secret "nothing" not found')

    async def test_a_volume_that_is_not_there(self, pods: Pods) -> None:
        launcher = await launched(pods, authority_config_map="nothing")
        await waits(launcher, "VOLUME_MOUNT", 'configmap "nothing" not found')

    async def test_a_claim_that_is_not_there(self, pods: Pods) -> None:
        await waits(await launched(pods, cache_claim="nothing"), "VOLUME_MOUNT", '"nothing" not found')

    async def test_an_account_that_is_not_there(self, pods: Pods) -> None:
        await waits(await launched(pods, service_account="nobody"), "CONFIG_ERROR", 'serviceaccount "nobody" not found')

    async def test_a_quota_that_is_used_up(self, cluster: Cluster, pods: Pods) -> None:
        await cluster.ask("create", "quota", "few-gpus", "--hard=requests.nvidia.com/gpu=1")
        try:
            launcher = await launched(pods, resources={"gpus": 2})
            await waits(launcher, "QUOTA_WAIT", "exceeded quota: few-gpus")
            await stopped(launcher)
        finally:
            await cluster.ask("delete", "quota", "few-gpus")

    async def test_a_job_that_the_api_server_does_not_take(self, pods: Pods) -> None:
        with pytest.raises(LaunchError) as caught:
            await launched(pods, tolerations=({"key": "a", "operator": "Sometimes"},))
        reason = caught.value.reason
        assert (reason.code, "Sometimes" in reason.message) == ("CONFIG_ERROR", True)

    async def test_a_namespace_that_is_not_there(self, pods: Pods) -> None:
        with pytest.raises(LaunchError) as caught:
            await launched(pods, namespace="nowhere-at-all")
        assert (caught.value.reason.code, "nowhere-at-all" in caught.value.reason.message) == ("CONFIG_ERROR", True)


class TestEnds:
    async def test_memory_that_ran_out(self, pods: Pods) -> None:
        launcher = await launched(pods, "echo before; exec tail /dev/zero")
        thing = await seen(launcher, ended, seconds=SECONDS)
        assert thing.reason is not None
        assert (thing.exit_code, thing.reason.code, str(64 << 20) in thing.reason.message) == (-9, "OOM_HOST", True)
        assert await printed(launcher) == ["before"]

    async def test_a_program_that_is_not_there(self, pods: Pods) -> None:
        launcher = await launched(pods, command=("no-such-program",))
        thing = await seen(launcher, ended, seconds=SECONDS)
        assert thing.reason is not None
        assert (thing.reason.code, "no-such-program" in thing.reason.message) == ("CONFIG_ERROR", True)

    async def test_a_pod_that_somebody_deletes(self, cluster: Cluster, pods: Pods) -> None:
        launcher = await launched(pods)
        await seen(launcher, runs, seconds=SECONDS)
        await cluster.ask("delete", "pods", "-l", pods.selector, "--grace-period=1", "--wait=false")
        thing = await seen(launcher, ended, seconds=SECONDS)
        assert thing.reason is not None
        assert (thing.reason.code, thing.reason.retriable) == ("DELETED_EXTERNALLY", True)

    async def test_a_job_that_somebody_deletes_is_there_until_nothing_of_it_runs(
        self, cluster: Cluster, pods: Pods
    ) -> None:
        launcher = await launched(pods, "trap '' TERM; echo started; while true; do sleep 0.1; done")
        await until(lambda: printed(launcher), lambda lines: lines == ["started"], seconds=SECONDS)
        await cluster.ask("delete", "jobs", "-l", pods.selector, "--wait=false")
        assert await cluster.items("jobs", "-l", pods.selector) == []
        assert runs(await seen(launcher, lambda thing: True, seconds=SECONDS))
        await stopped(launcher)
        assert await live(cluster, pods) == []

    async def test_a_pod_that_is_gone_the_moment_it_completes(self, cluster: Cluster, pods: Pods) -> None:
        launcher = await launched(pods, "exit 0")
        await seen(launcher, ended, seconds=SECONDS)
        await cluster.ask("delete", "pods", "-l", pods.selector)
        assert (await seen(launcher, ended, seconds=SECONDS)).exit_code == 0

    async def test_a_node_that_refuses_a_pod(self, cluster: Cluster, pods: Pods) -> None:
        launcher = await launched(pods, resources={"gpus": 64})
        await waits(launcher, "UNSCHEDULABLE_GPU")
        pod = await pod_of(cluster, pods)
        # What a kubelet writes whose device plugin has not come back since the node was started again.
        refused = {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no healthy devices present"}
        patch = ("--subresource=status", "--type=merge", "-p", str({"status": refused}).replace("'", '"'))
        await cluster.ask("patch", "pod", pod["metadata"]["name"], *patch)
        thing = await seen(launcher, ended, seconds=SECONDS)
        assert thing.reason is not None
        assert (thing.reason.code, thing.reason.retriable) == ("ADMISSION_ERROR", True)
        assert "no healthy devices present" in thing.reason.message


class TestTakenAway:
    async def test_an_evicted_worker_is_followed_by_another(self, cluster: Cluster, pods: Pods) -> None:
        launcher = await launched(pods, "trap 'exit 44' TERM; echo started; while true; do sleep 0.1; done")
        first = await seen(launcher, runs, seconds=SECONDS)
        pod = await pod_of(cluster, pods)
        name = pod["metadata"]["name"]
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        path = f"/api/v1/namespaces/{cluster.namespace}/pods/{name}/eviction"
        await cluster.ask("create", "--raw", path, "-f", "-", given=eviction)
        second = await seen(
            launcher,
            lambda thing: runs(thing) and thing is not None and thing.incarnation != first.incarnation,
            seconds=SECONDS,
        )
        assert second.incarnation
        await stopped(launcher)

    async def test_a_worker_that_a_queue_stops_goes_on_later(self, cluster: Cluster, pods: Pods) -> None:
        launcher = await launched(
            pods, "trap 'exit 44' TERM; echo started; while true; do sleep 0.1; done", queue="team"
        )
        thing = await waits(launcher, "QUOTA_WAIT")
        assert thing.incarnation == ""
        name = (await cluster.items("jobs", "-l", pods.selector))[0]["metadata"]["name"]

        async def suspend(value: str) -> None:
            await cluster.ask("patch", "job", name, "--type=merge", "-p", f'{{"spec":{{"suspend":{value}}}}}')

        await suspend("false")
        first = await seen(launcher, runs, seconds=SECONDS)
        await suspend("true")

        def is_suspended(thing: Launched | None) -> bool:
            return thing is not None and thing.phase is Phase.SUSPENDED

        await seen(launcher, is_suspended, seconds=SECONDS)
        assert await live(cluster, pods) == []
        await suspend("false")
        second = await seen(launcher, runs, seconds=SECONDS)
        assert second.incarnation != first.incarnation
        await stopped(launcher)


class TestOrder:
    async def test_what_the_cluster_keeps_of_a_job_is_what_was_sent(self, cluster: Cluster, pods: Pods) -> None:
        await launched(
            pods,
            resources={"gpus": 1},
            node_selector={"is": "nowhere"},
            tolerations=({"key": "a", "operator": "Exists"},),
        )
        (job,) = await cluster.items("jobs", "-l", pods.selector)
        spec = job["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert {"key": "a", "operator": "Exists"} in spec["tolerations"]
        assert (spec["automountServiceAccountToken"], job["spec"]["backoffLimit"]) == (False, 0)

    async def test_a_worker_has_no_account_and_writes_to_its_own_folders_only(self, pods: Pods) -> None:
        tests = (
            "ls /var/run/secrets/kubernetes.io 2>/dev/null && echo account",
            "touch /here 2>/dev/null && echo root",
            'touch "$BLOOMERY_WORK_DIR/a" /tmp/a /cache/a /dev/shm/a && echo folders',
            "id -u",
            'test "$BLOOMERY_INCARNATION" && echo incarnation',
        )
        launcher = await launched(pods, "; ".join(tests))
        thing = await seen(launcher, ended, seconds=SECONDS)
        assert await printed(launcher, tail=20) == ["folders", "10001", "incarnation"]
        assert thing.exit_code == 0

    async def test_installations_of_one_namespace_do_not_see_each_other(self, cluster: Cluster, pods: Pods) -> None:
        await launched(pods)
        other = KubernetesLauncher(cluster.settings())
        try:
            assert [*await other.observe()] == []
        finally:
            await other.close()

    async def test_a_change_is_told_before_the_next_look(self, pods: Pods) -> None:
        launcher = await launched(pods, "exit 0")
        told = asyncio.Event()
        await launcher.observe()
        following = asyncio.create_task(launcher.follow(told.set))
        async with asyncio.timeout(60):
            await told.wait()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
