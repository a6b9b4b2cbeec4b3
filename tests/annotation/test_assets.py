"""Images: making, finding, downloading and deleting them."""

from urllib.parse import parse_qs, urlsplit

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

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
    StreamAnnotationSetsRequest,
    UpdateAssetRequest,
)
from bloomery_annotation.inspecting import inspect
from bloomery_annotation.names import asset_id
from bloomery_annotation.store import assets
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


async def splits_at(server: Server, sequence: int) -> dict[str, str]:
    """The splits of all assets by display name as they were at a sequence."""
    request = StreamAnnotationSetsRequest(parent="projects/p", read_sequence=sequence)
    return {
        item.asset.display_name: item.asset.split
        async for message in server.stub.StreamAnnotationSets(request)
        for item in message.items
    }


async def test_an_update_changes_split_and_labels_from_now_on(both: Server) -> None:
    project = await both.project()
    await both.label("rbc")
    asset = (await both.assets(project, [png(1)], display_name="a", split="train", labels={"k": "v"}))[0]
    saved = await both.save(asset, [box("rbc")])
    await both.assets(project, [png(2)], display_name="b")
    wanted = Asset(name=asset.name, split="val", labels={"k": "w"}, etag=asset.etag)
    changed = await both.stub.UpdateAsset(UpdateAssetRequest(asset=wanted))
    assert (changed.split, dict(changed.labels), changed.uid) == ("val", {"k": "w"}, asset.uid)
    assert (changed.sequence, changed.create_time) == (asset.sequence, asset.create_time)
    assert changed.etag != asset.etag
    assert await both.stub.GetAsset(GetAssetRequest(name=asset.name)) == changed
    assert await both.stub.GetAnnotationSet(GetAnnotationSetRequest(name=saved.name)) == saved
    assert await listed(both, "") == ["a", "b"]
    now = (await both.stub.GetProject(GetProjectRequest(name=project.name))).sequence
    assert await splits_at(both, now) == {"a": "val", "b": ""}
    assert await splits_at(both, now - 1) == {"a": "train", "b": ""}
    stale = await status_of(both.stub.UpdateAsset(UpdateAssetRequest(asset=wanted)))
    assert reason_of(stale) == "ETAG_MISMATCH"


async def test_an_update_to_what_is_there_changes_nothing(both: Server) -> None:
    project = await both.project()
    asset = (await both.assets(project, [png(1)], split="train"))[0]
    same = UpdateAssetRequest(asset=Asset(name=asset.name, split="train"))
    assert await both.stub.UpdateAsset(same) == asset
    masked = UpdateAssetRequest(asset=Asset(name=asset.name, split="val"), update_mask=FieldMask(paths=["labels"]))
    assert await both.stub.UpdateAsset(masked) == asset
    emptied = UpdateAssetRequest(asset=Asset(name=asset.name), update_mask=FieldMask(paths=["split"]))
    assert (await both.stub.UpdateAsset(emptied)).split == ""


async def test_an_update_says_all_that_is_wrong_with_it(server: Server, project: Project) -> None:
    bad = Asset(name="nonsense", split="holdout", labels={"": "v"})
    status = await status_of(server.stub.UpdateAsset(UpdateAssetRequest(asset=bad)))
    assert fields_of(status) == ["asset.name", "asset.split", "asset.labels"]
    unknown = Asset(name=f"{project.name}/assets/{asset_id(digest_of(b'x'))}", split="val")
    assert reason_of(await status_of(server.stub.UpdateAsset(UpdateAssetRequest(asset=unknown)))) == "NOT_FOUND"
    mask = FieldMask(paths=["digest"])
    refused = await status_of(server.stub.UpdateAsset(UpdateAssetRequest(asset=unknown, update_mask=mask)))
    assert fields_of(refused) == ["update_mask"]


async def test_frames_are_listed_by_their_time_within_the_parent(both: Server) -> None:
    project = await both.project()
    parent, other = await both.assets(project, [png(1), png(2)])
    times = [Duration(seconds=2), Duration(nanos=500_000_000), Duration(seconds=1), Duration(seconds=1)]
    for number, time in enumerate(times):
        content = png(10 + number)
        await both.assets(project, [content], display_name=str(number), parent=parent.name, timestamp=time)
    await both.assets(project, [png(20)], display_name="of another", parent=other.name)
    frames = ListAssetsRequest(parent=project.name, filter=f"parent:{parent.name.rpartition('/')[2]}")
    assert await listed(both, frames.filter) == ["1", "2", "3", "0"]
    first = (await both.stub.ListAssets(frames)).assets[0]
    assert (first.parent, first.timestamp.ToMilliseconds()) == (parent.name, 500)
    assert await listed(both, "parent:") == []


async def test_a_frame_needs_a_parent_that_is_there(server: Server, project: Project) -> None:
    await server.upload([png(1)], project)
    other = await server.project("other")
    foreign = (await server.assets(other, [png(2)]))[0]
    wanted = [
        Asset(digest=digest_of(png(1)), parent=f"{project.name}/assets/{asset_id(digest_of(b'x'))}"),
        Asset(digest=digest_of(png(1)), parent=foreign.name, timestamp=Duration(seconds=-1)),
        Asset(digest=digest_of(png(1)), timestamp=Duration(seconds=1)),
    ]
    answer = await server.stub.BatchCreateAssets(BatchCreateAssetsRequest(parent=project.name, assets=wanted))
    statuses = [result.status for result in answer.results]
    assert reason_of(statuses[0]) == "NOT_FOUND"
    assert [fields_of(status) for status in statuses[1:]] == [["parent", "timestamp"], ["timestamp"]]


async def test_later_pages_do_not_count_again(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.assets(project, [png(seed) for seed in range(3)], split="val")
    request = ListAssetsRequest(parent=project.name, filter="split:val", page_size=2)
    first = await server.stub.ListAssets(request)
    monkeypatch.setattr(assets, "count", None)
    request.page_token = first.next_page_token
    second = await server.stub.ListAssets(request)
    assert (first.total_size, second.total_size, len(second.assets)) == (3, 3, 1)


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


def test_what_is_no_image_says_why() -> None:
    found = inspect(b"<annotation/>")
    assert found.problem is not None
    assert (found.problem.code, found.size_bytes, found.width) == ("NOT_AN_IMAGE", 13, 0)
