"""What replicas say that they have loaded."""

from __future__ import annotations

from dataclasses import replace

from bloomery_inference.serving.model import Replica
from bloomery_inference.store import deployments, replicas
from bloomery_kit.database import Database
from bloomery_kit.errors import FailedPrecondition, PreconditionViolation
from bloomery_kit.feeds import Notifier

DEPLOYMENTS = "deployments"
"""Key of the notifier that says that deployments, or what replicas have loaded of them, have changed."""


class Replicas:
    """Takes down the reports of replicas; `changed` is told of what is new in them."""

    def __init__(self, db: Database, *, changed: Notifier) -> None:
        self._db = db
        self._changed = changed

    async def report(self, replica: Replica) -> int:
        """Take down what a replica says, which may be repeated; the generation of its runtime's plan.

        Raise FailedPrecondition REPLICA_REPLACED for an incarnation that another has followed.
        """
        async with self._db.write() as tx:
            known, former = await replicas.lock(tx, replica)
            if replica.incarnation in former:
                raise _replaced(replica, known)
            is_successor = replica.incarnation != known.incarnation
            is_news = is_successor or replica.sequence > known.sequence
            if is_news:
                # What has left the plan may be gone at the next moment, and is loaded anew if it comes back.
                planned = await deployments.planned(tx, replica.runtime)
                replica = replicas.leaving(replica, {model.uid for model in replica.models} - planned)
                await replicas.put(tx, replica, (*former, known.incarnation) if is_successor else former)
                await deployments.touch(tx, replica.runtime, _differing(known, replica))
            else:
                await replicas.beat(tx, replica)
            generation = await deployments.plan_generation(tx, replica.runtime)
        if is_news:
            self._changed.notify(DEPLOYMENTS)
        return generation


def _differing(before: Replica, after: Replica) -> set[str]:
    """Uids of the models of which a replica says something else than before; of all where it is another or moved."""
    uids = {model.uid for model in (*before.models, *after.models)}
    unmoved = replace(after, models=before.models, sequence=before.sequence, live=before.live)
    return {uid for uid in uids if unmoved != before or before.model(uid) != after.model(uid)}


def _replaced(replica: Replica, known: Replica) -> FailedPrecondition:
    fix = "end this process: another one has taken its place"
    message = f"incarnation {replica.incarnation} of replica {replica.id} was followed by {known.incarnation}; {fix}"
    violation = PreconditionViolation("REPLICA_REPLACED", replica.id, fix)
    return FailedPrecondition("REPLICA_REPLACED", message, [violation])
