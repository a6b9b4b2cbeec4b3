"""What all parts of the trainer share: the database, the blobs, the clock, and who to tell after a commit."""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bloomery_kit.database import Database
from bloomery_kit.errors import Unauthenticated
from bloomery_kit.objects import ObjectStore, check_key
from bloomery_kit.quotas import UNLIMITED, Quotas
from bloomery_kit.times import Clock, utc_now
from bloomery_trainer.feed import RESULTS, EventFeed
from bloomery_trainer.launcher import Launcher
from bloomery_trainer.model import Attempt
from bloomery_trainer.neighbours import Neighbours
from bloomery_trainer.recipes import Catalogue
from bloomery_trainer.settings import TrainerSettings
from bloomery_trainer.store.damage import Complaints


@dataclass(frozen=True)
class Core:
    """The parts of one trainer."""

    settings: TrainerSettings
    db: Database
    objects: ObjectStore
    catalogue: Catalogue
    neighbours: Neighbours
    launcher: Launcher
    feed: EventFeed
    worker_target: Callable[[], str]
    owner_tokens: Callable[[], Sequence[str]]
    clock: Clock = utc_now
    quotas: Quotas = UNLIMITED
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    deleted: asyncio.Event = field(default_factory=asyncio.Event)
    complaints: Complaints = field(default_factory=Complaints)

    def committed(self, job_uid: str) -> None:
        """Tell the watchers that a job's log has grown; call it after the commit."""
        self.feed.committed(job_uid)

    def jobs_moved(self, job_uid: str) -> None:
        """Tell the reconciler and the readers of results as well that there may be something new."""
        self.committed(job_uid)
        self.feed.changed.notify(RESULTS)
        self.moved.set()

    def launch_tokens(self, job_uid: str, attempt: int, nonce: str) -> Mapping[str, str]:
        """The tokens of an attempt, and by which of the owner's each was made; new attempts get the first.

        They are the same on every replica and for each worker of the attempt, and stored nowhere.
        """
        return {_derived(key, "token", job_uid, attempt, nonce): key for key in self.owner_tokens()}

    def worker_secret(self, token: str, attempt: Attempt) -> str:
        """The secret that the token is exchanged for. Raise Unauthenticated where the owner's token for it is gone."""
        key = self.launch_tokens(attempt.job_uid, attempt.number, attempt.nonce).get(token)
        if key is None:
            raise Unauthenticated("the owner's token was exchanged since this attempt was launched")
        return _derived(key, "secret", attempt.job_uid, attempt.number, f"{attempt.nonce}/{attempt.worker_id}")


def _derived(key: str, use: str, job_uid: str, attempt: int, nonce: str) -> str:
    return hmac.new(key.encode(), f"{use}/{job_uid}/{attempt}/{nonce}".encode(), hashlib.sha256).hexdigest()


def hashed(secret: str) -> str:
    """What is stored of a token or secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def belongs(key: str, project_uid: str) -> bool:
    """Whether a key is one of a project's objects; a path that leaves the project's folder is no key at all."""
    try:
        return check_key(key).startswith(f"{project_uid}/")
    except ValueError:
        return False
