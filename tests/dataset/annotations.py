"""An annotation service in memory that can be made to fail at a chosen moment."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from google.protobuf.empty_pb2 import Empty

from bloomery.annotation.v1 import (
    AcquireReferenceRequest,
    AnnotationServiceServicer,
    AnnotationSet,
    Asset,
    AssetAnnotations,
    GetProjectRequest,
    Label,
    ListLabelsRequest,
    ListLabelsResponse,
    Project,
    ReleaseReferenceRequest,
    StreamAnnotationSetsRequest,
    StreamAnnotationSetsResponse,
)
from bloomery.common.v1 import Reference
from bloomery_kit.errors import NotFound, OutOfRange, Unavailable
from bloomery_kit.times import to_timestamp, utc_now
from bloomery_vision.geometry import Shape
from bloomery_vision.messages import shape_message

PROJECT = "cells"
UID = "0" * 32
_CHUNK = 3


@dataclass
class FakeAnnotations(AnnotationServiceServicer):
    """One project. What it may do wrong is in the fields that a test sets."""

    labels: list[str] = field(default_factory=lambda: ["RBC", "WBC", "Platelets"])
    assets: dict[str, Asset] = field(default_factory=dict)
    history: dict[str, list[tuple[int, tuple[Shape, ...]]]] = field(default_factory=dict)
    sequence: int = 0
    holders: set[str] = field(default_factory=set)
    titles: dict[str, str] = field(default_factory=dict)
    """How each holder, also a former one, is called."""
    uid: str = UID
    created: datetime = field(default_factory=utc_now)
    down: bool = False
    silent: bool = False
    """Streams say nothing at all."""
    break_after: list[int] = field(default_factory=list)
    """Messages after which the next streams break, one for each stream."""
    gate: asyncio.Event | None = None
    """Streams wait for it after their first message."""
    reached_gate: asyncio.Event = field(default_factory=asyncio.Event)
    streams: list[StreamAnnotationSetsRequest] = field(default_factory=list)

    @property
    def of_versions(self) -> set[str]:
        """The holders that are versions; the others are datasets."""
        return {holder for holder in self.holders if "/versions/" in holder}

    def use_id_again(self) -> None:
        """Delete the project, and make another one of the same id."""
        assert not self.holders, "it is held, so nobody could delete it"
        self.uid = "1" * 32

    def add(
        self,
        number: int,
        shapes: Sequence[Shape] | None = (),
        *,
        split: str = "",
        name: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> str:
        """Add an image with shapes; None for one that nobody annotated. Return its id."""
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        asset_id = f"a{digest[:20]}"
        self.sequence += 1
        self.assets[asset_id] = Asset(
            name=f"projects/{PROJECT}/assets/{asset_id}",
            display_name=name or f"images/{number:04d}.jpg",
            digest=f"sha256:{digest}",
            size_bytes=1000 + number,
            media_type="image/jpeg",
            width=640,
            height=480,
            split=split,
            labels=labels,
            sequence=self.sequence,
        )
        if shapes is not None:
            self.edit(asset_id, shapes)
        return asset_id

    def edit(self, asset_id: str, shapes: Sequence[Shape]) -> None:
        self.sequence += 1
        self.history.setdefault(asset_id, []).append((self.sequence, tuple(shapes)))

    async def GetProject(self, request: GetProjectRequest, context: Any) -> Project:
        self._check(request.name)
        return Project(
            name=request.name,
            uid=self.uid,
            create_time=to_timestamp(self.created),
            asset_count=len(self.assets),
            sequence=self.sequence,
        )

    async def ListLabels(self, request: ListLabelsRequest, context: Any) -> ListLabelsResponse:
        self._check(request.parent)
        start = int(request.page_token or 0)
        page = self.labels[start : start + 2]
        more = str(start + 2) if start + 2 < len(self.labels) else ""
        labels = [Label(name=f"{request.parent}/labels/{name.lower()}", display_name=name) for name in page]
        return ListLabelsResponse(labels=labels, next_page_token=more)

    async def AcquireReference(self, request: AcquireReferenceRequest, context: Any) -> Reference:
        self._check(request.resource)
        if request.uid not in ("", self.uid):
            raise NotFound("project", request.resource, "it was deleted, and its id used again")
        self.holders.add(request.holder)
        self.titles[request.holder] = request.title
        return Reference(holder=request.holder, resource=request.resource)

    async def ReleaseReference(self, request: ReleaseReferenceRequest, context: Any) -> Empty:
        self._check(request.resource)
        if request.holder.startswith("stuck"):
            raise RuntimeError("this holder cannot be released")
        self.holders.discard(request.holder)
        return Empty()

    async def StreamAnnotationSets(
        self, request: StreamAnnotationSetsRequest, context: Any
    ) -> AsyncIterator[StreamAnnotationSetsResponse]:
        self._check(request.parent)
        self.streams.append(request)
        if self.silent:
            await asyncio.Event().wait()
        moment = request.read_sequence or self.sequence
        if moment > self.sequence:
            raise OutOfRange("SEQUENCE_IN_FUTURE", "not yet", 0, self.sequence)
        breaks = self.break_after.pop(0) if self.break_after else None
        items = [self._at(asset_id, moment) for asset_id in sorted(self.assets) if asset_id > request.after]
        present = [item for item in items if item.asset.sequence <= moment]
        for sent, start in enumerate(range(0, len(present), _CHUNK)):
            if sent == breaks:
                raise Unavailable("DRAINING", "the server is about to go")
            if sent == 1 and self.gate:
                self.reached_gate.set()
                await self.gate.wait()
            yield StreamAnnotationSetsResponse(read_sequence=moment, items=present[start : start + _CHUNK])

    def _at(self, asset_id: str, moment: int) -> AssetAnnotations:
        item = AssetAnnotations(asset=self.assets[asset_id])
        revisions = [shapes for sequence, shapes in self.history.get(asset_id, []) if sequence <= moment]
        if revisions:
            item.annotation_set.CopyFrom(AnnotationSet(shapes=map(shape_message, revisions[-1])))
        return item

    def _check(self, name: str) -> None:
        if self.down:
            raise Unavailable("DOWN", "the annotation service is down")
        if name != f"projects/{PROJECT}":
            raise NotFound("project", name)
