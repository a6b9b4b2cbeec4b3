"""A short name means what it can only mean, and says so where it could mean more."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery import AsyncClient, errors
from bloomery import _names as names
from bloomery.annotation import v1 as annotation
from bloomery.dataset import v1 as dataset
from bloomery.training import v1 as training
from bloomery_kit import errors as served
from tests.sdk.fake import Fake, numbered

IDS = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


def datasets(*found: str) -> Callable[[dataset.ListDatasetsRequest], dataset.ListDatasetsResponse]:
    def answer(request: dataset.ListDatasetsRequest) -> dataset.ListDatasetsResponse:
        assert (request.parent, request.filter) == ("projects/-", "id:cells-v")
        page, token = numbered([dataset.Dataset(name=name) for name in found], request)
        return dataset.ListDatasetsResponse(datasets=page, next_page_token=token)

    return answer


@pytest.fixture(autouse=True)
def any_version(fake: Fake) -> None:
    fake.answer("GetDatasetVersion", lambda request: dataset.DatasetVersion(name=request.name))


async def test_a_full_name_is_taken_as_it_is(fake: Fake, aclient: AsyncClient) -> None:
    found = await aclient.dataset_version("projects/p/datasets/d/versions/3")
    assert found.name == "projects/p/datasets/d/versions/3"
    assert "ListDatasets" not in fake.calls


async def test_the_only_match_among_all_projects_is_meant(fake: Fake, aclient: AsyncClient) -> None:
    fake.answer("ListDatasets", datasets("projects/cells/datasets/cells-v"))
    assert (await aclient.dataset_version("cells-v@1")).name == "projects/cells/datasets/cells-v/versions/1"
    assert (await aclient.dataset_version("cells-v")).name == "projects/cells/datasets/cells-v/versions/latest"


async def test_several_matches_are_listed_from_all_pages(fake: Fake, aclient: AsyncClient) -> None:
    found = [f"projects/p{number}/datasets/cells-v" for number in range(5)]
    fake.answer("ListDatasets", datasets(*found))
    with pytest.raises(errors.AmbiguousName) as caught:
        await aclient.dataset_version("cells-v@1")
    assert caught.value.matches == tuple(found)
    assert all(name in caught.value.message for name in found)


async def test_no_match_is_not_found(fake: Fake, aclient: AsyncClient) -> None:
    fake.answer("ListDatasets", datasets())
    with pytest.raises(errors.NotFound, match="cells-v@1"):
        await aclient.dataset_version("cells-v@1")


async def test_the_clients_project_decides(fake: Fake) -> None:
    async with AsyncClient(fake.endpoint, project="cells") as client:
        assert (await client.dataset_version("d@2")).name == "projects/cells/datasets/d/versions/2"


async def test_the_environments_project_decides_where_none_is_given(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLOOMERY_PROJECT", "projects/cells")
    async with AsyncClient(fake.endpoint) as client:
        assert (await client.dataset_version("d@2")).name == "projects/cells/datasets/d/versions/2"


async def test_the_only_project_needs_no_name(fake: Fake, aclient: AsyncClient) -> None:
    fake.answer("ListProjects", annotation.ListProjectsResponse(projects=[annotation.Project(name="projects/cells")]))
    fake.answer("GetProject", lambda request: annotation.Project(name=request.name))
    fake.answer("GetLabel", lambda request: annotation.Label(name=request.name))
    label = annotation.Label(name="projects/cells/labels/rbc")
    fake.answer("ListLabels", annotation.ListLabelsResponse(labels=[label]))
    assert (await aclient.project()).name == "projects/cells"
    assert (await aclient.label("rbc")).name == "projects/cells/labels/rbc"


async def test_without_a_project_several_are_ambiguous_and_none_is_not_found(fake: Fake, aclient: AsyncClient) -> None:
    two = [annotation.Project(name=f"projects/{name}") for name in "ab"]
    fake.answer("ListProjects", annotation.ListProjectsResponse(projects=two))
    with pytest.raises(errors.AmbiguousName, match="projects/a, projects/b"):
        await aclient.project()
    fake.answer("ListProjects", annotation.ListProjectsResponse())
    with pytest.raises(errors.NotFound) as caught:
        await aclient.project()
    assert "project create" in caught.value.hint


@pytest.mark.parametrize("text", ["", "@1", "d@", "a/b", "projects/p/datasets/d", "projects//datasets/d/versions/1"])
async def test_what_names_nothing_is_refused_with_the_forms(aclient: AsyncClient, text: str) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        await aclient.dataset_version(text)
    assert "ID@VERSION" in caught.value.hint


async def test_a_version_of_something_without_versions_is_refused(aclient: AsyncClient) -> None:
    with pytest.raises(errors.InvalidArgument):
        await aclient.job("j1@2")


async def test_a_job_is_found_by_its_id(fake: Fake, aclient: AsyncClient) -> None:
    def listed(request: training.ListJobsRequest) -> training.ListJobsResponse:
        assert request.filter == "id:j1"
        return training.ListJobsResponse(jobs=[training.Job(name="projects/cells/jobs/j1")])

    fake.answer("ListJobs", listed)
    fake.answer("GetJob", lambda request: training.Job(name=request.name))
    assert (await aclient.job("j1")).name == "projects/cells/jobs/j1"


@pytest.mark.parametrize(
    ("text", "identifier"), [("a.jpg", "one"), ("cam1/b.jpg", "two"), ("c.jpg", "four"), ("x/c.jpg", "five")]
)
async def test_an_image_is_found_by_its_file_name(fake: Fake, text: str, identifier: str) -> None:
    fake.answer("ListAssets", images)
    fake.answer("GetAsset", lambda request: annotation.Asset(name=request.name))
    async with AsyncClient(fake.endpoint, project="cells") as client:
        assert (await client.asset(text)).id == identifier
        assert (await client.asset(identifier)).id == identifier


async def test_a_file_name_of_several_images_or_of_none_is_told(fake: Fake) -> None:
    fake.answer("ListAssets", images)
    async with AsyncClient(fake.endpoint, project="cells") as client:
        with pytest.raises(errors.AmbiguousName, match=r"cam1/b\.jpg, cam2/b\.jpg") as caught:
            await client.asset("b.jpg")
        assert "path" in caught.value.hint
        for text in ("1.jpg", "shot_0003", "DSC0001", "0001", "photo-", "a" * 64):
            with pytest.raises(errors.NotFound, match=f"no image is called {text}"):
                await client.asset(text)
        with pytest.raises(errors.AmbiguousName):
            await client.asset("twice.jpg")


def images(request: annotation.ListAssetsRequest) -> annotation.ListAssetsResponse:
    """Those whose names have a part, page by page, as the server lists them."""
    known = {
        "one": "in/a.jpg",
        "two": "cam1/b.jpg",
        "three": "cam2/b.jpg",
        "four": "c.jpg",
        "five": "x/c.jpg",
        "six": "twice.jpg",
        "seven": "twice.jpg",
        "eight": "in/11.jpg",
    }
    part = request.filter.removeprefix("name:")
    found = [
        annotation.Asset(name=f"projects/cells/assets/{identifier}", display_name=name)
        for identifier, name in known.items()
        if part in name
    ]
    page, token = numbered(found, request)
    return annotation.ListAssetsResponse(assets=page, next_page_token=token)


@given(project=IDS, identifier=IDS, version=st.integers(1, 10**6))
def test_the_short_form_of_a_version_leads_back_to_it(project: str, identifier: str, version: int) -> None:
    full = f"projects/{project}/datasets/{identifier}/versions/{version}"
    assert names.DATASET_VERSION.matches(full)
    assert names.DATASET_VERSION.below(f"projects/{project}", names.short(full)) == full
    assert names.parent_of(full, 2) == f"projects/{project}"


@pytest.mark.parametrize(
    ("there", "hint"),
    [
        (["cells", "cars", "birds"], "did you mean cells?"),
        (["birds", "cars"], "the projects are birds, cars"),
        ([], "no project exists; `bloomery project create ID` makes one"),
    ],
)
async def test_a_project_that_is_not_there_is_told_from_those_that_are(
    fake: Fake, aclient: AsyncClient, there: list[str], hint: str
) -> None:
    fake.queue("GetProject", served.NotFound("project", "projects/cels"))
    projects = [annotation.Project(name=f"projects/{name}") for name in there]
    fake.answer("ListProjects", annotation.ListProjectsResponse(projects=projects))
    with pytest.raises(errors.NotFound) as caught:
        await aclient.project("cels")
    assert caught.value.hint == hint


async def test_a_project_that_is_not_there_is_told_where_no_other_may_be_seen(fake: Fake, aclient: AsyncClient) -> None:
    fake.queue("GetProject", served.NotFound("project", "projects/cels"))
    fake.queue("ListProjects", served.PermissionDenied("only for viewers"))
    with pytest.raises(errors.NotFound, match="cels"):
        await aclient.project("cels")
