"""Saving shapes on an image without losing what others saved."""

from collections.abc import Iterable

from bloomery import errors
from bloomery._labels import label_ids
from bloomery._names import parent_of
from bloomery._results import Prediction
from bloomery._session import Session
from bloomery.annotation import v1 as annotation
from bloomery.vision import v1 as vision

MAIN = "main"
"""The set that people draw and that datasets are built from."""


def set_name(asset: str, set_id: str) -> str:
    """The full name of a set of shapes on an image."""
    return f"{asset}/annotationSets/{set_id}"


async def read(session: Session, asset: str, set_id: str) -> annotation.AnnotationSet:
    """A set of shapes on an image; one without shapes and etag where there is none."""
    name = set_name(asset, set_id)
    try:
        return await session.call(session.annotation.GetAnnotationSet, annotation.GetAnnotationSetRequest(name=name))
    except errors.NotFound:
        return annotation.AnnotationSet(name=name)


async def save(
    session: Session, before: annotation.AnnotationSet, shapes: Iterable[vision.Shape]
) -> annotation.AnnotationSet:
    """Let a person's shapes take the place of a set that was read `before`.

    Raises:
        Conflict: somebody saved since.
        NotFound: a shape carries a label that does not exist.
        InvalidArgument: lists every shape that does not make sense.
    """
    origin = vision.Provenance(source=vision.Provenance.SOURCE_HUMAN)
    return await _update(session, before, shapes, origin)


async def save_prediction(
    session: Session, before: annotation.AnnotationSet, prediction: Prediction
) -> annotation.AnnotationSet:
    """Let a model's shapes take the place of a set that was read `before`, unless people made it.

    Raises:
        FailedPrecondition: it holds what people drew or imported.
        Conflict: somebody saved since.
        NotFound: the project has no label for a class.
    """
    if before.etag and before.provenance.source != vision.Provenance.SOURCE_MODEL:
        raise errors.FailedPrecondition(
            f"{before.name} holds the work of people, which no prediction replaces",
            reason="ANNOTATED_BY_PEOPLE",
            hint="save it under another `set`, or save its shapes as your own",
        )
    model = prediction.proto.model_version
    origin = vision.Provenance(source=vision.Provenance.SOURCE_MODEL, agent=model)
    return await _update(session, before, [_seen_by(model, shape) for shape in prediction.shapes], origin)


def _seen_by(model: str, shape: vision.Shape) -> vision.Shape:
    """A copy that says who saw it: a person who corrects the set makes it theirs, but not each of its shapes."""
    own = vision.Shape()
    own.CopyFrom(shape)
    own.model_version = model
    return own


async def _update(
    session: Session, before: annotation.AnnotationSet, shapes: Iterable[vision.Shape], origin: vision.Provenance
) -> annotation.AnnotationSet:
    after = annotation.AnnotationSet(name=before.name, shapes=shapes, provenance=origin, etag=before.etag)
    ids = await label_ids(session, parent_of(before.name, 2), [shape.label for shape in after.shapes if shape.label])
    for shape in after.shapes:
        shape.label = ids.get(shape.label, shape.label)
    request = annotation.UpdateAnnotationSetRequest(annotation_set=after, allow_missing=not before.etag)
    try:
        return await session.call(session.annotation.UpdateAnnotationSet, request)
    except errors.InvalidArgument as error:
        if error.reason != "ETAG_REQUIRED":
            raise
    # There was no set when it was read. What is there now may be our own first attempt, whose answer was lost.
    found = await session.call(session.annotation.GetAnnotationSet, annotation.GetAnnotationSetRequest(name=after.name))
    if list(found.shapes) == list(after.shapes):
        return found
    raise errors.Conflict(f"{before.name} was saved by somebody else", reason="ETAG_MISMATCH")
