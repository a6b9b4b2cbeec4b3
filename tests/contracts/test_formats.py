"""The formats are listed once, in the vision library; whoever repeats them agrees with it."""

from typing import get_args

from bloomery._aio.dataset import ExportFormat
from bloomery._aio.project import FolderFormat
from bloomery.annotation.v1 import Format as FormatMessage
from bloomery.cli.export import ExportFormat as ExportChoice
from bloomery.cli.imports import FolderFormat as FolderChoice
from bloomery.dataset.v1 import ExportFormat as ExportFormatMessage
from bloomery_annotation.convert import FORMATS as ACCEPTED
from bloomery_vision.formats import FORMATS, Format

IDS = {str(one) for one in FORMATS}


def ids(names: list[str], prefix: str) -> set[str]:
    """Return the ids that the values of an enumeration stand for, without the first, which stands for none."""
    return {name.removeprefix(prefix).lower() for name in names[1:]}


def test_every_format_is_in_the_table() -> None:
    assert {str(one) for one in Format} == IDS


def test_the_contract_the_client_and_the_command_line_know_the_formats_that_are_read() -> None:
    assert ids(FormatMessage.keys(), "FORMAT_") == IDS
    assert {str(one) for one in ACCEPTED.values() if one} == IDS
    assert set(get_args(FolderFormat)) == IDS
    assert {choice.value for choice in FolderChoice} == IDS


def test_they_offer_only_exports_that_can_be_written() -> None:
    exports = ids(ExportFormatMessage.keys(), "EXPORT_FORMAT_")
    # Folders of classes have no label files to write, and are read as YOLO's.
    assert exports - {"imagefolder"} <= {str(one) for one, facts in FORMATS.items() if facts.write}
    assert set(get_args(ExportFormat)) == {choice.value for choice in ExportChoice} == exports
