"""Previews of augmentation policies."""

import io
from typing import Any

from PIL import Image

from bloomery import Client
from bloomery.dataset import v1 as dataset
from tests.sdk import world
from tests.sdk.fake import Fake, numbered


def test_a_preview_goes_on_where_a_page_is_full_of_contents(fake: Fake, client: Client) -> None:
    world.settle(fake)
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), "green").save(stream, "PNG")
    items = [
        dataset.DatasetItem(
            asset=f"projects/cells/assets/{number}", file_name=f"{number}.png", content=stream.getvalue()
        )
        for number in range(5)
    ]

    def listed(request: Any) -> dataset.ListDatasetItemsResponse:
        page, following = numbered(items, request)
        return dataset.ListDatasetItemsResponse(items=page[: request.page_size], next_page_token=following)

    fake.answer("ListDatasetItems", listed)
    version = client.dataset_version("projects/cells/datasets/cells-v/versions/1")
    for images, seen in ((3, 3), (4, 4), (9, 5)):
        sheets = version.preview_augmentation("low_contrast", images=images, variants=1)
        assert [sheet.file_name for sheet in sheets] == [f"{number}.png" for number in range(seen)]
