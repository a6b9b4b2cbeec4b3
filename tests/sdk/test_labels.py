"""One rule for what people call a label: its id or its display name, in the right spelling or nearly."""

import pytest

from bloomery import Client, errors
from bloomery._labels import class_of, match
from bloomery.annotation import v1 as annotation
from tests.sdk import world
from tests.sdk.fake import Fake

NAMES = {"rbc": "RBC", "wbc": "WBC", "platelets": "Platelets", "red": "rbc", "a": "X", "b": "x"}


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("rbc", "rbc"),
        ("RBC", "rbc"),
        ("WBC", "wbc"),
        ("wBc", "wbc"),
        ("PLATELETS", "platelets"),
        ("X", "a"),
        ("x", "b"),
        ("Rbc", None),
        ("none", None),
        ("", None),
    ],
)
def test_the_very_spelling_goes_first_and_what_is_not_clear_means_none(text: str, meant: str | None) -> None:
    assert match(text, NAMES) == meant


@pytest.mark.parametrize("text", ["White cell", "white-cell", "WHITE CELL"])
def test_a_class_may_be_written_as_its_label(text: str) -> None:
    assert class_of(text, ["RBC", "White cell"]) == "White cell"
    assert class_of("other", ["RBC"]) == "other"


@pytest.fixture
def client(fake: Fake, client: Client) -> Client:
    world.settle(fake)
    labels = [world.LABEL, annotation.Label(name="projects/cells/labels/white", display_name="WBC")]
    fake.answer("ListLabels", annotation.ListLabelsResponse(labels=labels))
    return client


@pytest.mark.parametrize("text", ["rbc", "RBC", "Rbc", world.LABEL.name])
def test_a_label_is_found_by_either_name(fake: Fake, client: Client, text: str) -> None:
    assert client.label(text).name == world.LABEL.name
    assert fake.calls["GetLabel"][0].name == world.LABEL.name


def test_an_unknown_label_is_told_with_those_that_there_are(fake: Fake, client: Client) -> None:
    project = client.project("cells")
    for use in (
        lambda: client.label("red"),
        lambda: list(project.assets(filter="label:red")),
        lambda: project.build_dataset("d", class_mapping={"RBC": "cell", "red": ""}),
    ):
        with pytest.raises(errors.NotFound, match="no label 'red'") as caught:
            use()
        assert caught.value.hint == "the labels are RBC (rbc), WBC (white)"
    assert "CreateDatasetVersion" not in fake.calls


def test_names_become_ids_where_the_server_takes_ids(fake: Fake, client: Client) -> None:
    project = client.project("cells")
    project.build_dataset("d", class_mapping={"RBC": "cell", "WBC": ""})
    assert dict(fake.calls["CreateDatasetVersion"][0].dataset_version.spec.class_mapping) == {
        "rbc": "cell",
        "white": "",
    }
    list(project.assets(filter="label:WBC"))
    list(project.assets(filter="name:RBC"))
    assert [call.filter for call in fake.calls["ListAssets"]] == ["label:white", "name:RBC"]


def test_labels_that_a_class_mapping_does_not_name_keep_their_names(fake: Fake, client: Client) -> None:
    for mapping in ({"RBC": "cell"}, {"white": ""}, {}):
        client.project("cells").build_dataset("d", class_mapping=mapping)
    sent = [call.dataset_version.spec for call in fake.calls["CreateDatasetVersion"]]
    assert [dict(spec.class_mapping) for spec in sent] == [{"rbc": "cell"}, {"white": ""}, {}]
    assert all(spec.keep_unmapped for spec in sent)


def test_two_names_of_one_label_in_a_class_mapping_are_refused(client: Client) -> None:
    with pytest.raises(errors.InvalidArgument, match="RBC and rbc are not all different"):
        client.project("cells").build_dataset("d", class_mapping={"RBC": "cell", "rbc": "other"})


def test_ids_become_names_where_a_model_takes_names(fake: Fake, client: Client) -> None:
    client.model_version("cells-v@1").predict(b"image", classes=["rbc", "WBC", "none"])
    assert list(fake.calls["Predict"][0].classes) == ["RBC", "WBC", "none"]
