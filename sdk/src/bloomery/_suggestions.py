"""What models suggest on images, and what people decide about it."""

from collections.abc import AsyncIterator, Iterable

from bloomery._session import Session
from bloomery.annotation import v1 as annotation


async def find_sets(session: Session, project: str, filter: str = "") -> AsyncIterator[annotation.AnnotationSet]:
    """The sets of shapes of all images of a project that a filter lets through."""
    request = annotation.ListAnnotationSetsRequest(parent=f"{project}/assets/-", filter=filter)
    async for page in session.pages(session.annotation.ListAnnotationSets, request):
        for found in page.annotation_sets:
            yield found


async def review(
    session: Session, found: annotation.AnnotationSet, *, accept: Iterable[int] = (), reject: Iterable[int] = ()
) -> annotation.ReviewSuggestionsResponse:
    """Accept and reject shapes of a set, by their places in it as it was read."""
    request = annotation.ReviewSuggestionsRequest(name=found.name, etag=found.etag, accept=accept, reject=reject)
    return await session.call(session.annotation.ReviewSuggestions, request)


async def delete_suggestions(session: Session, project: str, model_version: str) -> int:
    """Delete what a model version suggested in a project, and return how many sets there were."""
    request = annotation.DeleteSuggestionsRequest(parent=project, model_version=model_version)
    answer = await session.call(session.annotation.DeleteSuggestions, request)
    return answer.annotation_set_count
