"""Who answers a prediction of a deployment: which of its versions, and on which replica."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bloomery_inference.serving.comparing import Case, Cases
from bloomery_inference.serving.holding import name_of
from bloomery_inference.serving.model import LoadState, PlannedModel, Replica
from bloomery_inference.serving.running import Here, There
from bloomery_kit.errors import FailedPrecondition, PreconditionViolation, Unavailable

if TYPE_CHECKING:
    from bloomery_inference.predictor import Predictor
    from bloomery_inference.question import ImageContent, Models, Options, Prediction, Question
    from bloomery_inference.remembered import Remembered
    from bloomery_inference.serving.deployments import Served
    from bloomery_inference.serving.running import Clients, Running

_REPEAT_SECONDS = 1.0


@dataclass(frozen=True)
class Asked:
    """What is asked of the deployment of a name; `asset` is the name of the image, "" for one that came along."""

    deployment: str
    image: ImageContent
    options: Options
    asset: str


@dataclass(frozen=True)
class Route:
    """Where a prediction goes."""

    served: Served
    model: PlannedModel
    running: Running


class Router:
    """Asks deployments. Those of this process's own runtime use `here`, others are reached through `clients`.

    What two versions of one are to be asked goes to `cases`.
    """

    def __init__(
        self, served: Remembered[Served], predictor: Predictor, here: Models, clients: Clients, cases: Cases
    ) -> None:
        self._served = served
        self._cases = cases
        self._predictor = predictor
        self._here = here
        self._clients = clients
        self._asked: Counter[str] = Counter()

    async def question(self, name: str, options: Options) -> Question:
        """What is asked of a deployment about any image. Raise as `predict` where that is wrong for every image."""
        return self._question(await self._route(name), options)

    async def predict(self, asked: Asked, *, patient: bool = False) -> Prediction:
        """Predict with what a deployment serves; `patient` as Predictor has it.

        Raise NotFound, FailedPrecondition DEPLOYMENT_PAUSED, Unavailable NO_REPLICA or REPLICA_UNAVAILABLE, and what a
        prediction raises.
        """
        route = await self._route(asked.deployment)
        try:
            answer = await self.ask(route, asked, patient=patient)
        except Unavailable:
            # What was on its way out may have left since the look at it.
            again = await self._route(asked.deployment)
            if again.model.variant.uid == route.model.variant.uid:
                raise
            return await self.ask(again, asked, patient=patient)
        self._offer(asked, route, answer)
        return answer

    def _offer(self, asked: Asked, route: Route, answer: Prediction) -> None:
        """Let the other version be asked as well, where there is one and the request is in the sample."""
        deployment = route.served.deployment
        if not (deployment.serving and deployment.candidate):
            return
        if self._cases.takes(deployment, self._asked[deployment.uid]):
            is_serving = route.model.variant.uid == deployment.serving
            other = self.to(route.served, deployment.candidate if is_serving else deployment.serving)
            if other:
                self._cases.offer(Case(asked, answer, other))

    async def ask(self, route: Route, asked: Asked, *, patient: bool) -> Prediction:
        """Predict as a route says."""
        question = self._question(route, asked.options)
        found = await self._predictor.answer(question, asked.image, patient=patient)
        return replace(found, deployment=asked.deployment, replica=route.running.replica)

    def _question(self, route: Route, options: Options) -> Question:
        model = route.model
        return self._predictor.asked_of(route.running.models, model.version, model.variant, options)

    def to(self, served: Served, uid: str) -> Route | None:
        """The route to a model, None where no replica has it."""
        turn = self._asked[served.deployment.uid]
        among = able(served.replicas, uid, turn)
        if not among or uid not in served.models:
            return None
        running = There(among, self._clients) if among[0].endpoint else Here(among[0], self._here)
        return Route(served, served.models[uid], running)

    async def _route(self, name: str) -> Route:
        served = await self._served.get(name)
        deployment = served.deployment
        if deployment.paused:
            raise _paused(name)
        self._asked[deployment.uid] += 1
        share = 0 if deployment.shadow else deployment.traffic
        is_candidates = takes(self._asked[deployment.uid], share)
        candidate = self.to(served, deployment.candidate) if is_candidates and deployment.serving else None
        route = candidate or self.to(served, deployment.serving)
        if route is None:
            raise _nobody(served)
        return route


def takes(turn: int, percent: int) -> bool:
    """Whether a candidate with a share answers the request of a number, from 1; of any 100 in a row it gets that many.

    They are spread evenly, without a clock and without chance.
    """
    return turn * percent // 100 > (turn - 1) * percent // 100


def able(replicas: Sequence[Replica], uid: str, turn: int) -> list[Replica]:
    """The replicas that have loaded a model, in turns; those of which nothing was heard of late come last."""
    ready = [one for one in replicas if one.has(uid, LoadState.READY)]
    start = turn % len(ready) if ready else 0
    return sorted(ready[start:] + ready[:start], key=lambda one: not one.live)


def _paused(name: str) -> FailedPrecondition:
    fix = f"resume it with `bloomery deploy resume {name.rpartition('/')[2]}`, or ask for a model version"
    violation = PreconditionViolation("DEPLOYMENT_PAUSED", name, fix)
    return FailedPrecondition("DEPLOYMENT_PAUSED", f"{name} is paused; {fix}", [violation])


def _nobody(served: Served) -> Unavailable:
    deployment = served.deployment
    known = ", ".join(_said(one, deployment.wanted) for one in served.replicas) or "there is none"
    message = f"no replica of {deployment.runtime} has loaded what {name_of(deployment)} serves: {known}"
    return Unavailable("NO_REPLICA", message, _REPEAT_SECONDS)


def _said(replica: Replica, uid: str) -> str:
    model = replica.model(uid)
    reason = f": {model.reason}" if model and model.reason else ""
    return f"{replica.id} {model.state if model else 'does not have it yet'}{reason}"
