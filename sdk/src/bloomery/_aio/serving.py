"""What a model version does without a job: its variants, predictions and files."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from google.protobuf.field_mask_pb2 import FieldMask

from bloomery import _suggestions
from bloomery._aio.alias import AsyncModelAlias, set_alias
from bloomery._aio.streaming import AsyncStreaming
from bloomery._aio.variant import AsyncModelVariant
from bloomery._archive import file_name, found_below, inside, refuse_foreign
from bloomery._card import METADATA, ModelCard, write_metadata
from bloomery._comparison import ModelComparison, comparison
from bloomery._fields import DatasetVersionFields, ModelVersionFields
from bloomery._files import Download
from bloomery._jobs import Parameter, struct
from bloomery._labels import class_of
from bloomery._names import parent_of
from bloomery._results import Progress, unseen
from bloomery._versions import (
    compare_data,
    find_dataset_version,
    get_card,
    get_model_version,
    preview_deletion,
)
from bloomery.annotation.v1 import AnnotationSet
from bloomery.inference import v1 as inference


class AsyncServing(AsyncStreaming[inference.ModelVersion], ModelVersionFields):
    """The half of a model version that needs no jobs."""

    async def refresh(self) -> Self:
        """Read it again, with its variants."""
        self._proto = await get_model_version(self._session, self.name)
        return self

    async def variants(self) -> AsyncIterator[AsyncModelVariant]:
        """List its variants."""
        request = inference.ListModelVariantsRequest(parent=self.name)
        async for page in self._session.pages(self._session.models.ListModelVariants, request):
            for variant in page.model_variants:
                yield AsyncModelVariant(self._session, variant)

    async def optimize(
        self,
        /,
        format: str = "onnx",
        *,
        precision: str = "",
        on: str | DatasetVersionFields = "",
        settings: Mapping[str, Parameter] | None = None,
        **parameters: Parameter,
    ) -> AsyncModelVariant:
        """Start making a variant and return it, PENDING; one that is there already is returned as it is.

        Args:
            format: file format, also with its precision, such as "onnx-int8"; `AsyncClient.model_forms` has all forms.
            precision: of the numbers, such as "int8"; the format's default where empty.
            on: dataset version to calibrate, compare and measure on, or its name such as "cells-v@1"; the one that the
                model was trained on by default.
            settings: parameters of the recipe, also such as have a name that is taken here.
            parameters: parameters of the recipe, such as `calibration_images=300`; its defaults where not given.

        Raises:
            InvalidArgument: there is no such form, or a parameter is wrong.
            FailedPrecondition: this form cannot be made here.
            NotFound: there is no such dataset version.
        """
        kind, _, rest = format.partition("-")
        request = inference.OptimizeModelVersionRequest(
            name=self.name,
            format=kind,
            precision=precision or rest,
            parameters=struct({**(settings or {}), **parameters}),
        )
        if isinstance(on, str) and on:
            request.dataset_version = (await find_dataset_version(self._session, parent_of(self.name, 2), on)).name
        elif not isinstance(on, str):
            request.dataset_version = on.name
        variant = await self._session.call(self._session.models.OptimizeModelVersion, request)
        return AsyncModelVariant(self._session, variant)

    def _address(self, request: inference.PredictRequest) -> None:
        request.model_version = self.name

    def _class_of(self, name: str) -> str:
        return class_of(name, self.classes)

    async def suggestions(self) -> AsyncIterator[AnnotationSet]:
        """List what it suggests on the images of its project: a set for each that it looked at, maybe an empty one."""
        async for found in _suggestions.find_sets(self._session, parent_of(self.name, 2), f"agent:{self.name}"):
            yield found

    async def download(self, to: str | Path, *, progress: Progress = unseen) -> list[Path]:
        """Write its files below `to`, those of each READY variant in a folder of its name, and return them.

        Beside them `metadata.json` says what they are: parameters, figures, lineage, as in its card.

        Raises:
            TransferFailed: they did not get through, or one would leave the folder.
            FailedPrecondition: `to` holds files that are not of this version.
            InvalidArgument: `to` is a file.
        """
        request = inference.SignModelArtifactsRequest(name=self.name)
        signed = (await self._session.call(self._session.models.SignModelArtifacts, request)).artifacts
        names = ["/".join(filter(None, (one.variant, file_name(one.artifact)))) for one in signed]
        wanted = [
            Download(one.get, inside(Path(to), name), one.artifact.digest)
            for one, name in zip(signed, names, strict=True)
        ]
        refuse_foreign(Path(to), (await asyncio.to_thread(found_below, Path(to))).foreign({*names, METADATA}))
        found = await self._session.transfer.get_all(wanted, progress)
        if METADATA in names:
            return found
        return [*found, await asyncio.to_thread(write_metadata, Path(to), await get_card(self._session, self.name))]

    async def update(self, *, note: str | None = None, active: bool | None = None) -> Self:
        """Change what is given: what people say of it, or whether it is offered.

        One that is not active is never the newest, and no list has it unless it is asked; by its number it works on.

        Raises:
            Conflict: somebody changed it since it was read.
            FailedPrecondition: it is not to be active, and aliases name it.
        """
        states = inference.ModelVersion
        given = {"note": note, "state": active}
        if paths := [field for field, value in given.items() if value is not None]:
            state = states.STATE_ACTIVE if active else states.STATE_INACTIVE
            version = states(name=self.name, note=note or "", state=state, etag=self.proto.etag)
            request = inference.UpdateModelVersionRequest(model_version=version, update_mask=FieldMask(paths=paths))
            self._proto = await self._session.call(self._session.models.UpdateModelVersion, request)
        return self

    async def card(self) -> ModelCard:
        """All that is known of it, for people: facts, data, parameters, measurements, variants."""
        return ModelCard(await get_card(self._session, self.name))

    async def compare(self, other: ModelVersionFields) -> ModelComparison:
        """Put it side by side with another version: figures, parameters, data, size and speed."""
        before, after = [await get_card(self._session, name) for name in (self.name, other.name)]
        data = await compare_data(self._session, before, after)
        return comparison(before, after, data)

    async def set_alias(
        self,
        alias: str,
        *,
        reason: str = "",
        expected: int | None = None,
        conditions: Sequence[str] = (),
        on: str = "",
        if_better: bool = False,
        split: str = "test",
    ) -> AsyncModelAlias:
        """Let an alias of its model, such as "champion", name it: a new one, or one that named another version.

        Args:
            alias: its id.
            reason: why, for its history.
            expected: number of the version that it must name now, 0 where there must be no such alias; whatever it
                names by default.
            conditions: what must have been measured, all of it, such as "test/map50 >= 0.8" (or >, <=, <); of each
                metric the newest figure counts, that of the training or of an evaluation since. "test/map50 of
                onnx-int8 >= 0.8" asks for an evaluation of that variant.
            on: only what was measured on this dataset version (`cells-v@2`) counts.
            if_better: only if it is better than the version that the alias names now, as `better` tells by the newest
                evaluations of both on the same images. Where the alias names nothing yet, that is not asked.
            split: whose images these are: "test", "val", "train" or "all".

        Raises:
            Conflict: it names another version than `expected`: somebody else was first.
            FailedPrecondition: conditions are not met, or it is not better; its violations have the figures, and say
                which evaluation is missing.
            InvalidArgument: the id cannot be an alias's, or a text is no condition.
        """
        project = parent_of(self.name, 2)
        measured = (await find_dataset_version(self._session, project, on)).name if on else ""
        return await set_alias(
            self._session,
            self.name,
            alias,
            reason=reason,
            expected=expected,
            conditions=conditions,
            on=measured,
            if_better=if_better,
            split=split,
        )

    async def deletion(self) -> inference.ModelDeletion:
        """What would go with it: its variants, and their files."""
        return await preview_deletion(self._session, self.name)

    async def delete(self) -> None:
        """Delete it with its variants; its number is not used again.

        Raises:
            FailedPrecondition: aliases name it.
        """
        request = inference.DeleteModelVersionRequest(name=self.name)
        await self._session.delete(self._session.models.DeleteModelVersion, request)
