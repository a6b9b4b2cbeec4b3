"""The check of a project's annotations, however large the project is."""

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from bloomery._results import Validation
from bloomery._session import Session
from bloomery._watch import to_the_end
from bloomery.annotation.v1 import StreamProblemsRequest, StreamProblemsResponse
from bloomery.common.v1 import Problem


@dataclass(frozen=True)
class Findings:
    """The next findings, and how many images were looked at so far."""

    problems: Sequence[Problem]
    asset_count: int


async def findings(session: Session, project: str) -> AsyncGenerator[Findings, None]:
    """Check a project and yield what is found, in the order of images; what is said twice after a break only once."""
    known = _Known()
    async with aclosing(to_the_end(session, partial(_open, session, project, known))) as messages:
        async for message in messages:
            yield known.take(message)


async def validation(session: Session, project: str, limit: int) -> Validation:
    """Counts of everything that the check of a project finds, and the first `limit` problems."""
    problems: list[Problem] = []
    counts: Counter[int] = Counter()
    assets = 0
    async with aclosing(findings(session, project)) as found:
        async for some in found:
            problems += some.problems[: limit - len(problems)]
            counts.update(problem.severity for problem in some.problems)
            assets = some.asset_count
    return Validation(problems, counts[Problem.SEVERITY_ERROR], counts[Problem.SEVERITY_WARNING], assets)


def _open(
    session: Session, project: str, known: "_Known", last: StreamProblemsResponse | None
) -> AsyncGenerator[StreamProblemsResponse, None]:
    request = StreamProblemsRequest(parent=project)
    if last is not None:
        known.reopen()
        request.read_sequence, request.after = last.read_sequence, last.after
    return session.stream(session.annotation.StreamProblems, request)


class _Known:
    """What a stream said behind the last image that it was done with: after a break it begins there again."""

    def __init__(self) -> None:
        self._after = ""
        self._behind: list[bytes] = []
        self._again: frozenset[bytes] = frozenset()
        self._before = self._count = 0

    def reopen(self) -> None:
        self._again = frozenset(self._behind)
        self._before, self._count = self._before + self._count, 0

    def take(self, message: StreamProblemsResponse) -> Findings:
        said = [problem.SerializeToString(deterministic=True) for problem in message.problems]
        new = [problem for problem, one in zip(message.problems, said, strict=True) if one not in self._again]
        if message.after == self._after:
            self._behind += said
        else:
            self._after, self._behind, self._again = message.after, said, frozenset()
        self._count = message.asset_count
        return Findings(new, self._before + self._count)
