"""What is wrong with a project's annotations."""

from collections.abc import AsyncIterator

from bloomery.annotation.v1 import (
    StreamProblemsRequest,
    StreamProblemsResponse,
    ValidateAnnotationsRequest,
    ValidateAnnotationsResponse,
)
from bloomery_annotation import convert, validate
from bloomery_annotation.names import PROJECT
from bloomery_annotation.service.base import Methods, moment_of
from bloomery_kit.pages import PageRequest


class ProblemMethods(Methods):
    """The rpcs of findings."""

    async def ValidateAnnotations(
        self, request: ValidateAnnotationsRequest, _context: object
    ) -> ValidateAnnotationsResponse:
        """See the contract."""
        ids = PROJECT.parse(request.parent, "parent")
        page = PageRequest.parse(request.page_size, request.page_token, request)
        found = await validate.validate(self._parts.db, ids["project"], page.cursor, page.size)
        return ValidateAnnotationsResponse(
            problems=map(convert.problem, found.problems),
            next_page_token=page.next_token(found.next) if found.next else "",
            error_count=found.error_count,
            warning_count=found.warning_count,
            asset_count=found.asset_count,
        )

    async def StreamProblems(
        self, request: StreamProblemsRequest, _context: object
    ) -> AsyncIterator[StreamProblemsResponse]:
        """See the contract."""
        moment = moment_of(request.parent, request.read_sequence, request.after)
        async for part in validate.stream_problems(self._parts.db, moment):
            yield StreamProblemsResponse(
                read_sequence=part.sequence,
                after=part.after,
                problems=map(convert.problem, part.problems),
                asset_count=part.asset_count,
                error_count=part.error_count,
                warning_count=part.warning_count,
            )
