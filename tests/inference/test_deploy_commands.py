"""Deployments by the client and the command line, on the running service with its own replica."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bloomery import AsyncClient, errors
from bloomery.cli import app
from bloomery.inference.v1 import SetModelAliasRequest
from bloomery_inference.serving.model import Disagreement
from bloomery_inference.store import disagreements
from tests import databases
from tests.inference.asking import PETS, until
from tests.inference.conftest import TOKEN, Service
from tests.inference.deploying import FAILED, V1, V2, Scripted, versions
from tests.inference.test_migrations import NOW
from tests.inference.test_predict import white

DATABASES = databases.SQLITE


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return databases.sqlite_url("inference", tmp_path / "inference.db")


@pytest.fixture
async def client(service: Service, tmp_path: Path) -> AsyncIterator[AsyncClient]:
    """A client of the service, which has two versions of pets, the first of them the champion."""
    await versions(service, tmp_path)
    await service.models.SetModelAlias(SetModelAliasRequest(name=f"{PETS}/aliases/champion", model_version=V1))
    async with AsyncClient(service.target, token=TOKEN, project="pets") as opened:
        yield opened


async def run(service: Service, line: str, *more: str) -> Result:
    environment = {"BLOOMERY_ENDPOINT": service.target, "BLOOMERY_TOKEN": TOKEN, "BLOOMERY_PROJECT": "pets"}
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, [*line.split(), *more], env=environment))


async def test_a_client_deploys_updates_rolls_back_and_predicts(client: AsyncClient) -> None:
    made = await (await client.deploy("door", "pets@champion", labels={"team": "doors"})).wait()
    assert (made.state, made.serving, made.proto.alias) == ("READY", V1, "champion")
    assert (await made.predict(white(32, 32))).shapes[0].label == "dog"
    await (await made.update("pets@2")).wait()
    assert (made.serving, made.previous) == (V2, V1)
    assert (await client.model_alias("pets@champion")).model_version == V2
    told = [one async for one in made.predict_each([white(32, 32), b"no image"])]
    assert [one.error is None for one in told] == [True, False]
    streamed = [one async for one in made.predict_stream([white(32, 32)] * 2)]
    assert [one.prediction.proto.deployment for one in streamed if one.prediction] == [made.name] * 2
    await (await made.rollback()).wait()
    assert (await client.deployment("door")).serving == V1
    assert (await made.update(labels={})).labels == {}
    assert [one.id async for one in client.deployments(model="pets")] == ["door"]
    await made.delete()
    with pytest.raises(errors.NotFound):
        await made.refresh()


async def test_whoever_waits_for_a_deployment_does_not_take_another_one_of_its_id_for_it(client: AsyncClient) -> None:
    first = await client.deploy("door", "pets@1", runtime="triton")
    await (await client.deployment("door")).delete()
    again = await client.deploy("door", "pets@2", runtime="triton")
    assert again.proto.uid != first.proto.uid
    with pytest.raises(errors.NotFound, match="another one has its id"):
        await first.wait()


async def test_a_pause_is_felt_and_a_resume_waits_until_it_answers(client: AsyncClient) -> None:
    made = await (await client.deploy("door", "pets@1")).wait()
    assert (await made.pause()).state == "PAUSED"
    with pytest.raises(errors.FailedPrecondition, match="bloomery deploy resume door"):
        await made.predict(white(32, 32))
    await (await made.resume()).wait()
    await made.predict(white(32, 32))


async def test_what_cannot_be_loaded_is_an_error_of_whoever_waits(client: AsyncClient, service: Service) -> None:
    made = await client.deploy("door", "pets@1", runtime="triton")
    replica = Scripted(service)
    replica.refused[made.proto.candidate.uid] = "broken graph"
    await replica.report({made.proto.candidate.uid: FAILED})
    with pytest.raises(errors.DeployFailed, match="replica r1: broken graph"):
        await made.wait()


async def test_commands_tell_what_they_wait_for_and_what_came_of_it(
    client: AsyncClient, service: Service, tmp_path: Path
) -> None:
    created = await run(service, "deploy create door --model pets@champion")
    assert created.exit_code == 0, created.output
    assert "serves      pets@1" in created.stdout
    image = tmp_path / "image.png"
    image.write_bytes(white(32, 32))
    seen = await run(service, "predict --deployment door -o json", str(image))
    assert json.loads(seen.stdout)[0]["deployment"] == "projects/pets/deployments/door"
    shared = await run(service, "deploy update door --model pets@2 --traffic 10")
    assert "pets@2 answers 10 %" in shared.stdout
    empty = await run(service, "deploy update door")
    assert (empty.exit_code, "--traffic" in empty.stderr) == (2, True)
    listed = await run(service, "deploy list -o json")
    assert [one["trafficPercent"] for one in json.loads(listed.stdout)] == [10]
    differing = await run(service, "deploy disagreements door")
    assert "nothing was compared of pets@1 and pets@2 yet" in differing.stderr
    async with service.app._db.write() as tx:
        for number in range(2):
            item = Disagreement("", f"sha256:{number}", 1, 2, "a dog at 1, 1: only pets@1", NOW)
            await disagreements.keep(tx, json.loads(listed.stdout)[0]["uid"], item)
    counts = [
        len(json.loads((await run(service, f"deploy disagreements door -o json --limit {limit}")).stdout))
        for limit in (0, 1)
    ]
    assert counts == [2, 1]
    back = await run(service, "deploy rollback door")
    assert "candidate" not in back.stdout
    refused = await run(service, "deploy rollback door")
    assert (refused.exit_code, "reason: NOTHING_TO_ROLL_BACK" in refused.stderr) == (4, True)
    assert (await run(service, "models lineage pets@1")).stdout.count("deployed by  door") == 1
    deleted = await run(service, "deploy delete door --yes")
    assert deleted.exit_code == 0, deleted.output
    assert (await run(service, "deploy show door")).exit_code == 3


async def test_a_watch_exits_with_1_where_the_deployment_has_failed(client: AsyncClient, service: Service) -> None:
    made = await client.deploy("door", "pets@1", runtime="triton")
    replica = Scripted(service)
    replica.refused[made.proto.candidate.uid] = "broken graph"
    await replica.report({made.proto.candidate.uid: FAILED})
    await until(made.refresh, lambda found: found.state == "FAILED")
    watched = await run(service, "deploy watch door")
    assert (watched.exit_code, "replica r1: broken graph" in watched.output) == (1, True)


async def test_a_prediction_needs_somebody_who_is_asked(service: Service, tmp_path: Path) -> None:
    assert (await run(service, "predict")).exit_code == 2
    image = tmp_path / "a.png"
    image.write_bytes(white(32, 32))
    alone = await run(service, "predict", str(image))
    assert (alone.exit_code, "name one before the images" in " ".join(alone.stderr.split())) == (2, True)
