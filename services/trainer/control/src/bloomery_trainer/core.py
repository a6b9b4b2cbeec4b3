"""What all parts of the trainer share: the database, the blobs, the clock, and who to tell after a commit."""

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field

from bloomery_kit.database import Database
from bloomery_kit.objects import ObjectStore, check_key
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
    clock: Clock = utc_now
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

    def launch_token(self, job_uid: str, attempt: int, nonce: str) -> str:
        """The token of an attempt: the same on every replica and for each of its workers, and stored nowhere."""
        return self._derived("token", job_uid, attempt, nonce)

    def worker_secret(self, attempt: Attempt) -> str:
        """The secret that the token is exchanged for."""
        return self._derived("secret", attempt.job_uid, attempt.number, f"{attempt.nonce}/{attempt.worker_id}")

    def _derived(self, use: str, job_uid: str, attempt: int, nonce: str) -> str:
        key = self.settings.token.get_secret_value().encode()
        return hmac.new(key, f"{use}/{job_uid}/{attempt}/{nonce}".encode(), hashlib.sha256).hexdigest()


def hashed(secret: str) -> str:
    """What is stored of a token or secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def belongs(key: str, project_uid: str) -> bool:
    """Whether a key is one of a project's objects; a path that leaves the project's folder is no key at all."""
    try:
        return check_key(key).startswith(f"{project_uid}/")
    except ValueError:
        return False
