"""Aliases in Python and on the command line."""

import json

import pytest
from google.protobuf.empty_pb2 import Empty

from bloomery import AliasChange, AsyncClient, Client, errors
from bloomery.inference import v1 as inference
from bloomery_kit import errors as served
from tests.sdk import world
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake, numbered

MODEL = world.MODEL.name
CHAMPION = f"{MODEL}/aliases/champion"
ALIAS = inference.ModelAlias(name=CHAMPION, model_version=f"{MODEL}/versions/1", updater="owner", reason="fewer misses")
CHANGES = [
    inference.ModelAliasChange(sequence=3, from_version=f"{MODEL}/versions/1", changer="owner"),
    inference.ModelAliasChange(
        sequence=2, from_version=f"{MODEL}/versions/2", to_version=f"{MODEL}/versions/1", reason="fewer misses"
    ),
    inference.ModelAliasChange(sequence=1, to_version=f"{MODEL}/versions/2"),
]


@pytest.fixture(autouse=True)
def named(fake: Fake) -> None:
    world.settle(fake)
    fake.answer("GetModelAlias", ALIAS)
    fake.answer(
        "SetModelAlias", lambda request: inference.ModelAlias(name=request.name, model_version=request.model_version)
    )
    fake.answer("ListModelAliases", inference.ListModelAliasesResponse(model_aliases=[ALIAS]))
    fake.answer("DeleteModelAlias", Empty())

    def page(request: inference.ListModelAliasChangesRequest) -> inference.ListModelAliasChangesResponse:
        shown, token = numbered(CHANGES, request)
        return inference.ListModelAliasChangesResponse(model_alias_changes=shown, next_page_token=token)

    fake.answer("ListModelAliasChanges", page)


def test_a_version_is_asked_for_by_its_alias(fake: Fake, client: Client) -> None:
    version = client.model_version("cells-v@champion")
    assert version.version == 1
    version.predict(b"image")
    version.evaluate("cells-v@1")
    assert fake.calls["GetModelVersion"][0].name == f"{MODEL}/versions/champion"
    # Whatever it means later: what goes on from here is said with the number.
    assert fake.calls["Predict"][0].model_version == f"{MODEL}/versions/1"
    assert fake.calls["CreateJob"][0].job.model_version == f"{MODEL}/versions/1"


def test_aliases_are_set_listed_and_removed(fake: Fake, client: Client) -> None:
    version = client.model_version("cells-v@1")
    assert version.set_alias("champion", reason="why", expected=2).model_version == f"{MODEL}/versions/1"
    [asked] = fake.calls["SetModelAlias"]
    assert (asked.name, asked.model_version, asked.expected_version, asked.reason) == (
        CHAMPION,
        f"{MODEL}/versions/1",
        2,
        "why",
    )
    assert asked.request_id
    version.set_alias("champion")
    assert not fake.calls["SetModelAlias"][1].HasField("expected_version")
    assert [(one.id, one.updater) for one in client.model("cells-v").aliases()] == [("champion", "owner")]
    client.model_alias("cells-v@champion").refresh().remove(reason="retired", expected=1)
    [removed] = fake.calls["DeleteModelAlias"]
    assert (removed.name, removed.reason, removed.expected_version) == (CHAMPION, "retired", 1)


async def test_the_history_of_an_alias_is_read_to_its_end(fake: Fake, aclient: AsyncClient) -> None:
    found = [change async for change in aclient.alias_history("cells-v@champion")]
    assert found == [AliasChange(one) for one in CHANGES]
    assert [call.parent for call in fake.calls["ListModelAliasChanges"]] == [CHAMPION, CHAMPION]


@pytest.mark.parametrize("text", ["cells-v", "cells-v@", "@champion"])
def test_what_names_no_alias_is_refused(client: Client, text: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        client.model_alias(text)


def test_the_command_sets_an_alias_only_where_it_saw_it(fake: Fake, run: Run) -> None:
    result = run("models alias set cells-v@1 champion --reason why")
    assert result.exit_code == 0, result.output
    assert "cells-v@1, which it named already" in result.stdout
    assert fake.calls["SetModelAlias"][0].expected_version == 1
    run("models alias set cells-v@1 champion --expect 0")
    assert fake.calls["SetModelAlias"][1].expected_version == 0
    fake.queue("GetModelAlias", served.NotFound("alias", CHAMPION))
    assert json.loads(run("models alias set cells-v@1 champion -o json").stdout)["name"] == CHAMPION
    assert fake.calls["SetModelAlias"][2].expected_version == 0


def test_who_loses_the_race_is_told(fake: Fake, run: Run) -> None:
    fake.queue("SetModelAlias", served.Aborted("ALIAS_MOVED", "champion names version 3, where eva put it"))
    result = run("models alias set cells-v@1 champion")
    assert result.exit_code == 4
    assert "where eva put it" in result.stderr
    assert "reason: ALIAS_MOVED" in result.stderr


def test_the_command_shows_aliases_and_their_history(run: Run) -> None:
    assert "champion" in run("models alias list cells-v").stdout
    lines = run("models alias history cells-v@champion").stdout.splitlines()
    assert [line.split()[:2] for line in lines[2:]] == [["cells-v@2", "cells-v@1"], ["cells-v@2"]]
    assert lines[1].split()[:2] == ["cells-v@1", "removed"]
    assert [one["sequence"] for one in json.loads(run("models alias history cells-v@champion -o json").stdout)] == [
        "3",
        "2",
        "1",
    ]


def test_an_alias_is_removed_after_asking(fake: Fake, run: Run) -> None:
    assert run("models alias remove cells-v@champion").exit_code != 0
    assert run("models alias remove cells-v@champion --yes").exit_code == 0
    assert len(fake.calls["DeleteModelAlias"]) == 1


def test_a_promotion_says_what_must_have_been_measured(fake: Fake, run: Run) -> None:
    conditions = ["--if", "test/map50 >= 0.8", "--if", "val/loss<1e-1", "--on", "cells-v@1"]
    result = run("models promote cells-v@1 --to champion", *conditions)
    assert result.exit_code == 0, result.output
    [asked] = fake.calls["SetModelAlias"]
    assert (asked.expected_version, asked.dataset_version) == (1, world.VERSION.name)
    kinds = inference.MetricCondition
    assert list(asked.conditions) == [
        kinds(metric="test/map50", comparison=kinds.COMPARISON_AT_LEAST, threshold=0.8),
        kinds(metric="val/loss", comparison=kinds.COMPARISON_BELOW, threshold=0.1),
    ]


def test_a_promotion_may_ask_for_a_variants_figures_and_for_more_than_the_champions(fake: Fake, run: Run) -> None:
    outdone = inference.FigureDifference(metric="val/map50", value=0.5, other_value=0.75, lower=0.125, upper=0.25)
    comparison = inference.AliasComparison(comparison=inference.EvaluationComparison(differences=[outdone]))
    made = inference.ModelAlias(name=f"{MODEL}/aliases/champion", model_version=f"{MODEL}/versions/1")
    made.comparison.CopyFrom(comparison)
    fake.answer("SetModelAlias", made)
    wanted = ["--if", "test/map50 of onnx-int8 >= 0.8", "--if-better", "--split", "val"]
    result = run("models promote cells-v@1 --to champion", *wanted)
    assert result.exit_code == 0, result.output
    assert "val/map50 0.75, better than 0.5 (+0.125 at least)" in result.stdout
    [asked] = fake.calls["SetModelAlias"]
    assert (asked.if_better, asked.split) == (True, "val")
    assert [(one.metric, one.variant) for one in asked.conditions] == [("test/map50", "onnx-int8")]


def test_a_promotion_without_any_condition_is_a_wrong_command_line(fake: Fake, run: Run) -> None:
    assert run("models promote cells-v@1 --to champion").exit_code == 2
    assert not fake.calls["SetModelAlias"]


@pytest.mark.parametrize("text", ["test/map50", "test/map50 = 1", ">= 0.8", "test/map50 >= much", ""])
def test_a_text_that_is_no_condition_is_refused(fake: Fake, run: Run, text: str) -> None:
    result = run("models promote cells-v@1 --to champion --if", text)
    assert result.exit_code == 4
    assert "is no condition" in result.stderr
    assert not fake.calls["SetModelAlias"]


def test_a_promotion_that_is_refused_shows_the_figures(fake: Fake, run: Run) -> None:
    figure = "it is 0.7, measured by projects/cells/jobs/j1"
    violation = served.PreconditionViolation("CONDITION_NOT_MET", "test/map50 >= 0.8", figure)
    message = f"cells-v@1 does not meet the conditions: test/map50 >= 0.8: {figure}"
    fake.queue("SetModelAlias", served.FailedPrecondition("CONDITION_NOT_MET", message, [violation]))
    result = run("models promote cells-v@1 --to champion --if test/map50>=0.8")
    assert result.exit_code == 4
    assert figure in result.stderr
