"""Labels, images and imports."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self

from google.protobuf.field_mask_pb2 import FieldMask

from bloomery import _annotations, _suggestions, errors
from bloomery._aio.base import AsyncHandle
from bloomery._aio.dataset import AsyncDatasetVersion
from bloomery._annotations import MAIN
from bloomery._fields import AssetFields, ImportFields, LabelFields
from bloomery._names import id_of, parent_of
from bloomery._results import Prediction, Progress, Step, unseen
from bloomery._session import Session
from bloomery._status import from_status
from bloomery._watch import follow
from bloomery.annotation import v1 as annotation
from bloomery.dataset import v1 as dataset
from bloomery.vision.v1 import Shape

SplitName = Literal["train", "val", "test", ""]
_LOOKED_INTO = 5
"""Versions whose manifests one call looks into."""
_OVER = frozenset(
    {annotation.Import.STATE_SUCCEEDED, annotation.Import.STATE_FAILED, annotation.Import.STATE_CANCELLED}
)


class AsyncLabel(AsyncHandle[annotation.Label], LabelFields):
    """A class of things that shapes carry."""

    async def refresh(self) -> Self:
        """Read it again."""
        request = annotation.GetLabelRequest(name=self.name)
        self._proto = await self._session.call(self._session.annotation.GetLabel, request)
        return self

    async def update(self, *, display_name: str | None = None, color: str | None = None) -> Self:
        """Change what is given: what people see and exports write, or the color (`#rrggbb`). Its id stays.

        Raises:
            AlreadyExists: another label has that display name.
            InvalidArgument: lists everything that cannot be.
        """
        given = {"display_name": display_name, "color": color}
        if paths := [field for field, value in given.items() if value is not None]:
            label = annotation.Label(name=self.name, display_name=display_name or "", color=color or "")
            request = annotation.UpdateLabelRequest(label=label, update_mask=FieldMask(paths=paths))
            self._proto = await self._session.call(self._session.annotation.UpdateLabel, request)
        return self

    async def delete(self, *, force: bool = False) -> None:
        """Delete it; `force` also deletes the shapes that carry it.

        Raises:
            FailedPrecondition: shapes carry it.
        """
        request = annotation.DeleteLabelRequest(name=self.name, force=force)
        await self._session.delete(self._session.annotation.DeleteLabel, request)


class AsyncAsset(AsyncHandle[annotation.Asset], AssetFields):
    """An image."""

    def __init__(self, session: Session, proto: annotation.Asset) -> None:
        super().__init__(session, proto)
        self._seen: dict[str, annotation.AnnotationSet] = {}

    async def annotations(self) -> list[annotation.AnnotationSet]:
        """All sets of shapes on it: "main" is the people's, others hold suggestions."""
        request = annotation.ListAnnotationSetsRequest(parent=self.name)
        pages = self._session.pages(self._session.annotation.ListAnnotationSets, request)
        sets = [found async for page in pages for found in page.annotation_sets]
        none = annotation.AnnotationSet(name=_annotations.set_name(self.name, MAIN))
        self._seen = {MAIN: none} | {id_of(found.name): found for found in sets}
        return sets

    async def annotation_set(self, set: str = MAIN) -> annotation.AnnotationSet:
        """One set of shapes on it; without shapes and `etag` where nothing was saved yet.

        The next `save_annotations` of this handle takes the place of what was read here, and of nothing newer.
        """
        self._seen[set] = await _annotations.read(self._session, self.name, set)
        return self._seen[set]

    async def save_annotations(
        self, shapes: Iterable[Shape] | Prediction, *, set: str = MAIN, etag: str | None = None
    ) -> annotation.AnnotationSet:
        """Let shapes take the place of all that a set holds, as a new revision, and return the set.

        What a person gives replaces what this handle has read or saved last, else what is there now. A prediction
        replaces only what a model made, and is kept as that model's. What sticks out of the image is cut off, and
        told in the `problems` of the set that is returned.

        Args:
            shapes: in pixels of the image as it is shown, each with the id or the display name of its label; or what
                a model sees in it.
            set: "main" is the people's, from which datasets are built; others hold suggestions.
            etag: that of the revision to replace, "" for none; by default as said above.

        Raises:
            Conflict: somebody saved since; nothing was overwritten. Read the set again, merge and repeat.
            FailedPrecondition: a prediction would replace the work of people.
            NotFound: a shape carries a label that does not exist.
            InvalidArgument: lists every shape that does not make sense on this image.
        """
        if isinstance(shapes, Prediction):
            now = await _annotations.read(self._session, self.name, set)
            after = await _annotations.save_prediction(self._session, now, shapes)
        else:
            before = self._seen.get(set) or await self.annotation_set(set)
            if etag is not None:
                before = annotation.AnnotationSet(name=before.name, etag=etag)
            after = await _annotations.save(self._session, before, shapes)
        self._seen[set] = after
        return after

    async def accept_suggestions(self, set: str, shapes: Iterable[int] | None = None) -> annotation.AnnotationSet:
        """Add shapes that a model suggests to the people's, with their scores, and return what is left of the set.

        They leave the suggestions. What people have already, of the same geometry and label, is not added again.

        Args:
            set: id of the model's set, such as "cells-v-3".
            shapes: their places in the set, from 0, as this handle read or changed it last; all of it by default.

        Raises:
            Conflict: the suggestions have changed since: read the set again.
            FailedPrecondition: no model made the set.
            InvalidArgument: a place is none of a shape.
            NotFound: there is no such set.
        """
        return await self._review(set, shapes, accept=True)

    async def reject_suggestions(self, set: str, shapes: Iterable[int] | None = None) -> annotation.AnnotationSet:
        """Drop shapes that a model suggests, and return what is left; all else is as in `accept_suggestions`."""
        return await self._review(set, shapes, accept=False)

    async def _review(self, set: str, shapes: Iterable[int] | None, *, accept: bool) -> annotation.AnnotationSet:
        before = self._seen.get(set) or await self.annotation_set(set)
        places = range(len(before.shapes)) if shapes is None else shapes
        answer = await _suggestions.review(self._session, before, **{"accept" if accept else "reject": places})
        self._seen[set] = answer.suggestions
        if answer.HasField("main"):
            self._seen[MAIN] = answer.main
        return answer.suggestions

    async def update(self, *, split: SplitName | None = None, labels: Mapping[str, str] | None = None) -> Self:
        """Change what is given, for dataset versions that are built from now on.

        Args:
            split: the part of an official split that it belongs to; "" for none.
            labels: for filtering; takes the place of all that it had.

        Raises:
            InvalidArgument: lists everything that cannot be.
        """
        given = {"split": split, "labels": labels}
        if paths := [field for field, value in given.items() if value is not None]:
            asset = annotation.Asset(name=self.name, split=split or "", labels=labels)
            request = annotation.UpdateAssetRequest(asset=asset, update_mask=FieldMask(paths=paths))
            self._proto = await self._session.call(self._session.annotation.UpdateAsset, request)
        return self

    async def download(self, to: str | Path) -> Path:
        """Write its original bytes to the file `to`.

        Raises:
            TransferFailed: they did not get through.
        """
        request = annotation.SignDownloadsRequest(parent=parent_of(self.name), assets=[self.name])
        signed = (await self._session.call(self._session.annotation.SignDownloads, request)).downloads[0]
        if signed.status.code:
            raise from_status(signed.status)
        await self._session.transfer.get(signed.get, Path(to), self.digest)
        return Path(to)

    async def dataset_versions(self) -> AsyncIterator[AsyncDatasetVersion]:
        """List the dataset versions of its project that hold it, newest first."""
        parent = f"{parent_of(self.name)}/datasets/-"
        request = dataset.ListDatasetVersionsRequest(parent=parent, filter=f"asset:{self.name}", page_size=_LOOKED_INTO)
        async for page in self._session.pages(self._session.datasets.ListDatasetVersions, request):
            for version in page.dataset_versions:
                yield AsyncDatasetVersion(self._session, version)

    async def delete(self) -> None:
        """Delete it with its annotations; dataset versions that hold it keep its bytes."""
        request = annotation.DeleteAssetRequest(name=self.name)
        await self._session.delete(self._session.annotation.DeleteAsset, request)


class AsyncImport(AsyncHandle[annotation.Import], ImportFields):
    """The reading of one labelled folder."""

    def __init__(
        self, session: Session, proto: annotation.Import, skipped: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        super().__init__(session, proto)
        self._skipped = skipped

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many files of the folder were not sent, by ending (such as ".heic"); known to who sent it only."""
        return self._skipped

    async def refresh(self) -> Self:
        """Read it again."""
        request = annotation.GetImportRequest(name=self.name)
        self._proto = await self._session.call(self._session.annotation.GetImport, request)
        return self

    async def watch(self) -> AsyncIterator[Step]:
        """Yield how far it is until it is over; survives restarts of the server."""

        def open_stream(cursor: int | None) -> AsyncGenerator[annotation.Import, None]:
            request = annotation.WatchImportRequest(name=self.name, after_sequence=cursor or 0)
            return self._session.stream(self._session.annotation.WatchImport, request)

        async with aclosing(follow(self._session, open_stream, lambda state: state.sequence)) as states:
            async for state in states:
                self._proto = state
                yield Step("importing", state.done_count, state.item_count)
                if state.state in _OVER:
                    return

    async def wait(self, *, progress: Progress = unseen) -> Self:
        """Wait until it is over.

        Raises:
            ImportFailed: it ended FAILED or CANCELLED.
        """
        async for step in self.watch():
            progress(step)
        if self.proto.state == annotation.Import.STATE_SUCCEEDED:
            return self
        error = self.proto.error
        failure = from_status(error)
        raise errors.ImportFailed(
            error.message or f"the import was {self.state.lower()}",
            resource=self.name,
            reason=failure.reason if error.code else self.state,
            hint=failure.hint,
        )

    async def cancel(self) -> Self:
        """Ask it to stop; what was saved stays."""
        request = annotation.CancelImportRequest(name=self.name)
        self._proto = await self._session.call(self._session.annotation.CancelImport, request)
        return self
