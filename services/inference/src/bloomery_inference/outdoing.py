"""Whether a version is better than the one that an alias names, from what EVALUATE jobs recorded of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import grpc
from google.protobuf.json_format import MessageToDict

from bloomery.inference.v1 import AliasComparison, Better
from bloomery_inference.convert import version_name
from bloomery_inference.names import ALIAS, MODEL
from bloomery_inference.promotion import NOT_MET
from bloomery_inference.registry import version_in
from bloomery_inference.store import aliases, evaluations
from bloomery_kit.errors import FailedPrecondition, PreconditionViolation

if TYPE_CHECKING:
    from bloomery.inference.v1 import EvaluationComparison
    from bloomery_inference.comparing import Comparing
    from bloomery_inference.model import Evaluation, Json, ModelVersion
    from bloomery_inference.moves import Move
    from bloomery_kit.database import Database, Transaction

_TRIES = 10
"""Pairs of evaluations that are tried at most."""


@dataclass(frozen=True)
class Outdone:
    """What was found of a version that is to be better than another.

    Attributes:
        version: name of the version, with its number.
        before: number of the version that the alias named, 0 for none.
        comparison: of both, as the contract's AliasComparison; None where there was nothing to compare.
        failure: why it is not better, as far as it can be told; None where it is, or has nobody to be better than.
    """

    version: str
    before: int
    comparison: Mapping[str, Json] | None = None
    failure: PreconditionViolation | None = None


@dataclass(frozen=True)
class _Pair:
    """The version that is named, the one that is to be, and what was measured of each itself, the newest first."""

    champion: ModelVersion
    candidate: ModelVersion
    before: Sequence[Evaluation]
    after: Sequence[Evaluation]


class Outdoing:
    """Looks for evaluations of two versions, and has them compared."""

    def __init__(self, db: Database, comparing: Comparing) -> None:
        self._db = db
        self._comparing = comparing

    async def of(self, move: Move) -> Outdone:
        """Whether the version of `move` is better than the one that its alias names now. Raise NotFound."""
        async with self._db.read() as tx:
            candidate = await version_in(tx, move.model_version, "model_version")
            pair = await _pair(tx, move, candidate)
        name = version_name(candidate)
        if pair is None:
            return Outdone(name, 0)
        if pair.champion.number == candidate.number:
            return Outdone(name, candidate.number)
        return await self._compared(name, pair, move)

    async def _compared(self, name: str, pair: _Pair, move: Move) -> Outdone:
        """By the newest evaluations that can be compared: jobs may be gone, or have measured in another way."""
        why = "both were not evaluated on the same images"
        for jobs in islice(_jobs(pair, move), _TRIES):
            try:
                found = await self._comparing.compare(*jobs)
            except FailedPrecondition as error:
                why = error.message
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                why = f"{' or '.join(jobs)} was deleted"
            else:
                said = AliasComparison(comparison=found, job=jobs[0], other_job=jobs[1])
                stored: Mapping[str, Json] = MessageToDict(said, preserving_proto_field_name=True)
                return Outdone(name, pair.champion.number, stored, _verdict(pair, found, jobs))
        return Outdone(name, pair.champion.number, failure=_missing(pair, move, why))


async def _pair(tx: Transaction, move: Move, candidate: ModelVersion) -> _Pair | None:
    """None where the alias names nothing."""
    ids = ALIAS.parse(move.name)
    now = await aliases.get(tx, ids["project"], ids["model"], ids["alias"])
    if now is None:
        return None
    model = MODEL.format(project=now.project, model=now.model)
    champion = await version_in(tx, f"{model}/versions/{now.number}")
    before, after = [await evaluations.of_version(tx, one.uid) for one in (champion, candidate)]
    return _Pair(champion, candidate, _own(before), _own(after))


def _own(measured: Sequence[Evaluation]) -> list[Evaluation]:
    return [one for one in measured if not one.variant]


def _jobs(pair: _Pair, move: Move) -> Iterator[tuple[str, str]]:
    """Evaluations of both on the same images, the newest first; in each pair, that of the version that is named."""
    for after in _counted(pair.after, move):
        for before in _counted(pair.before, move):
            if before.dataset_version == after.dataset_version:
                yield before.job, after.job


def _counted(measured: Sequence[Evaluation], move: Move) -> list[Evaluation]:
    return [
        one
        for one in measured
        if move.dataset_version in ("", one.dataset_version)
        and any(metric.startswith(f"{move.split}/") for metric in one.metrics)
    ]


def _verdict(pair: _Pair, found: EvaluationComparison, jobs: tuple[str, str]) -> PreconditionViolation | None:
    """Why the figure that counts most does not say that the other version is better; None where it does."""
    first = found.differences[0]
    if first.better == Better.BETTER_OTHER:
        return None
    if first.better == Better.BETTER_FIRST:
        told = "it is worse"
    else:
        needed = first.needed_image_count
        more = f"about {needed:,} would be needed" if needed else "their figures are the same"
        told = f"they are not distinguishable with {found.image_count} images, {more}"
    return _failure(
        pair,
        f"{told}: {first.metric} is {first.other_value:.4g} instead of {first.value:.4g}, the 95 % interval of the "
        f"difference {first.lower:+.4g} to {first.upper:+.4g}, on {found.dataset_version} by {' and '.join(jobs)}",
    )


def _missing(pair: _Pair, move: Move, why: str) -> PreconditionViolation:
    """What has to be measured first, and how."""
    known = (move.dataset_version, *(one.dataset_version for one in (*pair.before, *pair.after)))
    data = next((name for name in known if name), pair.candidate.content.lineage.dataset_version or "DATASET@VERSION")
    named = data.removeprefix(f"projects/{pair.candidate.project}/datasets/").replace("/versions/", "@")
    command = f"bloomery models better {pair.champion.title} {pair.candidate.title} --on {named}"
    return _failure(pair, f"{why}; run `{command} --split {move.split}`, which evaluates what is missing")


def _failure(pair: _Pair, description: str) -> PreconditionViolation:
    return PreconditionViolation(NOT_MET, f"better than {pair.champion.title}", description)
