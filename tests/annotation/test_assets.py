"""Images: making, finding, downloading and deleting them."""

from urllib.parse import parse_qs, urlsplit

import pytest

from bloomery.annotation.v1 import (
    Asset,
    BatchCreateAssetsRequest,
    DeleteAssetRequest,
    GetAnnotationSetRequest,
    GetAssetRequest,
    GetLabelRequest,
    GetProjectRequest,
    ListAssetsRequest,
    Project,
    SignDownloadsRequest,
)
from bloomery_annotation.names import asset_id
from bloomery_kit.objects import FolderObjectStore
from tests.annotation.helpers import Server, box, digest_of, fields_of, png, reason_of, status_of


async def test_an_asset_is_known_by_its_bytes(both: Server) -> None:
    project = await both.project()
    content = png(1, (64, 48))
    first = (await both.assets(project, [content], display_name="a/b.png", split="train", labels={"k": "v"}))[0]
    assert first.name == f"projects/p/assets/{asset_id(digest_of(content))}"
    assert (first.width, first.height, first.media_type, first.size_bytes) == (64, 48, "image/png", len(content))
    assert (first.display_name, first.split, dict(first.labels)) == ("a/b.png", "train", {"k": "v"})
    again = (await both.assets(project, [content], display_name="another name"))[0]
    assert again == first
    assert await both.stub.GetAsset(GetAssetRequest(name=first.name)) == first
    counted = await both.stub.GetProject(GetProjectRequest(name=project.name))
    assert (counted.asset_count, counted.sequence) == (1, 1)


async def test_each_asset_of_a_batch_stands_on_its_own(server: Server, project: Project) -> None:
    await server.upload([png(1), b"<annotation/>", b""], project)
    wanted = [
        Asset(digest=digest_of(png(1))),
        Asset(digest=digest_of(b"<annotation/>")),
        Asset(digest=digest_of(b"")),
        Asset(digest=digest_of(b"never seen")),
        Asset(digest="nonsense", split="holdout"),
        Asset(digest=digest_of(png(1)), display_name="twice"),
    ]
    answer = await server.stub.BatchCreateAssets(BatchCreateAssetsRequest(parent=project.name, assets=wanted))
    statuses = [result.status for result in answer.results]
    assert [reason_of(status) if status.code else "" for status in statuses] == [
        "", "NOT_AN_IMAGE", "EMPTY", "BLOB_MISSING", "INVALID_ARGUMENT", "",
    ]  # fmt: skip
    assert fields_of(statuses[4]) == ["digest", "split"]
    assert answer.results[5].asset == answer.results[0].asset


async def test_more_than_a_thousand_are_refused(server: Server, project: Project) -> None:
    request = BatchCreateAssetsRequest(parent=project.name, assets=[Asset()] * 1001)
    assert fields_of(await status_of(server.stub.BatchCreateAssets(request))) == ["assets"]


async def listed(server: Server, text: str) -> list[str]:
    """The display names that a filter lets through, read by pages of two."""
    names: list[str] = []
    request = ListAssetsRequest(parent="projects/p", filter=text, page_size=2)
    while True:
        page = await server.stub.ListAssets(request)
        names += [asset.display_name for asset in page.assets]
        if not page.next_page_token:
            assert page.total_size == len(names)
            return names
        request.page_token = page.next_page_token


async def test_filters_let_through_what_they_say(both: Server) -> None:
    project = await both.project()
    await both.label("rbc")
    await both.label("wbc")
    contents = {"train/One.png": png(1), "train/two_.png": png(2), "val/three.png": png(3), "val/four%.png": png(4)}
    assets = [
        (await both.assets(project, [content], display_name=name, split=name.partition("/")[0]))[0]
        for name, content in contents.items()
    ]
    await both.save(assets[0], [box("rbc")])
    await both.save(assets[1], [])
    await both.save(assets[2], [box("wbc")], set_id="suggestions")
    names = list(contents)
    assert await listed(both, "") == names
    assert await listed(both, "annotated") == names[:2]
    assert await listed(both, "unannotated") == names[2:]
    assert await listed(both, "label:rbc") == names[:1]
    assert await listed(both, "label:wbc") == []
    assert await listed(both, "split:val") == names[2:]
    assert await listed(both, "name:ONE") == names[:1]
    assert await listed(both, "name:%") == names[3:]
    assert await listed(both, "name:_") == names[1:2]


@pytest.mark.parametrize("text", ["labelled", "annotated:yes", "size:3", "label", "name:\0"])
async def test_an_unknown_filter_is_refused(server: Server, project: Project, text: str) -> None:
    request = ListAssetsRequest(parent=project.name, filter=text)
    assert fields_of(await status_of(server.stub.ListAssets(request))) == ["filter"]


async def test_a_page_token_holds_for_its_request_only(server: Server, project: Project) -> None:
    await server.assets(project, [png(seed) for seed in range(3)])
    first = await server.stub.ListAssets(ListAssetsRequest(parent=project.name, page_size=2))
    other = ListAssetsRequest(parent=project.name, filter="annotated", page_token=first.next_page_token)
    assert reason_of(await status_of(server.stub.ListAssets(other))) == "PAGE_TOKEN_INVALID"


async def test_a_deleted_asset_is_gone_with_its_annotations_and_may_come_back(both: Server) -> None:
    project = await both.project()
    await both.label("rbc")
    asset = (await both.assets(project, [png(1)]))[0]
    await both.save(asset, [box("rbc"), box("rbc", x=30)])
    await both.stub.DeleteAsset(DeleteAssetRequest(name=asset.name))
    set_name = f"{asset.name}/annotationSets/main"
    for call in (
        both.stub.GetAsset(GetAssetRequest(name=asset.name)),
        both.stub.DeleteAsset(DeleteAssetRequest(name=asset.name)),
        both.stub.GetAnnotationSet(GetAnnotationSetRequest(name=set_name)),
    ):
        assert reason_of(await status_of(call)) == "NOT_FOUND"
    assert (await both.stub.GetLabel(GetLabelRequest(name="projects/p/labels/rbc"))).shape_count == 0
    back = (await both.assets(project, [png(1)]))[0]
    assert (back.name, back.uid == asset.uid) == (asset.name, False)
    missing = await status_of(both.stub.GetAnnotationSet(GetAnnotationSetRequest(name=set_name)))
    assert reason_of(missing) == "NOT_FOUND"
    assert (await both.stub.GetProject(GetProjectRequest(name=project.name))).asset_count == 1


async def test_downloads_are_signed_for_what_is_there(server: Server, project: Project) -> None:
    asset = (await server.assets(project, [png(1)], display_name="folder/my image.png"))[0]
    unknown = f"{project.name}/assets/{asset_id(digest_of(b'x'))}"
    answer = await server.stub.SignDownloads(SignDownloadsRequest(parent=project.name, assets=[asset.name, unknown]))
    good, bad = answer.downloads
    assert (good.asset, good.status.code) == (asset.name, 0)
    assert (bad.asset, reason_of(bad.status)) == (unknown, "NOT_FOUND")
    url = urlsplit(good.get.url)
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert isinstance(server.objects, FolderObjectStore)
    grant = server.objects.verify("GET", url.path.removeprefix("/blobs/"), query)
    assert grant.filename == "my image.png"
    assert await server.objects.get(grant.key) == png(1)


async def test_another_projects_asset_is_not_signed(server: Server, project: Project) -> None:
    other = await server.project("other")
    asset = (await server.assets(other, [png(1)]))[0]
    request = SignDownloadsRequest(parent=project.name, assets=[asset.name])
    assert fields_of(await status_of(server.stub.SignDownloads(request))) == ["assets[0]"]
