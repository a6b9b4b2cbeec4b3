"""What TensorBoard shows of a training: written while it goes on, in files that follow each other and never change.

Each file holds what came since the one before. TensorBoard reads the files of a folder in the order of their names, so
that a job which another attempt goes on with stays one run: the first file of that attempt takes back what the former
one had written of later epochs.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from bloomery_worker.messages import EventsNote, JobSpec, Value

if TYPE_CHECKING:
    from torch.utils.tensorboard import FileWriter, SummaryWriter

FIRST_SECONDS = 15.0
"""Between two files at the beginning of a training."""
SHARE = 100
"""Later a hundredth of the time that it has taken: however long it takes, there are some hundred files."""
THRESHOLDS = 127

_LOG = logging.getLogger("bloomery.recipe")

Pixels = npt.NDArray[np.uint8]
Curve = npt.NDArray[np.floating]


class Board:
    """Writes what a training measures and shows. Without TensorBoard's package nothing is written.

    All steps are epochs, counted from 1. Nothing here ends a training: what cannot be written is told in the log.

    Args:
        job: that is trained.
        send: is given each file once it is complete.
    """

    def __init__(
        self, job: JobSpec, send: Callable[[EventsNote], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._job, self._send, self._clock = job, send, clock
        self._folder = Path(job.work_dir) / "tensorboard"
        self._writer: SummaryWriter | None = None
        self._parts, self._usable = 0, True
        self._began = self._last = clock()

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Measurements by name."""

        def write(to: "SummaryWriter") -> None:
            for name, value in values.items():
                to.add_scalar(name, value, epoch)

        self._write(write)

    def picture(self, name: str, pixels: Pixels, epoch: int) -> None:
        """A picture, uint8 [H, W, 3] RGB."""
        self._write(lambda to: to.add_image(name, pixels, epoch, dataformats="HWC"))

    def confusion(self, counts: npt.NDArray[np.floating], names: Sequence[str], epoch: int) -> None:
        """What was taken for what: `counts` [seen, true], a row and a column for each of `names`."""
        from bloomery_worker.matrices import drawn

        self.picture("val/confusion", drawn(counts, names), epoch)

    def curve(self, name: str, precision: Curve, recall: Curve, positives: int, epoch: int) -> None:
        """Precision and recall [N] at N rising thresholds from 0 to 1, of `positives` true objects or images."""
        at = np.linspace(0, len(precision) - 1, THRESHOLDS).round().astype(int)
        exact, found = np.asarray(precision)[at], np.asarray(recall)[at]
        right = found * positives
        wrong = np.divide(right * (1 - exact), exact, out=np.zeros_like(right), where=exact > 0)
        rest = np.zeros_like(right)
        self._write(
            lambda to: to.add_pr_curve_raw(
                name, right, wrong, rest, positives - right, exact, found, epoch, num_thresholds=THRESHOLDS
            )
        )

    def parameters(self, parameters: Mapping[str, Value], measured: Mapping[str, float]) -> None:
        """The job's parameters with its final measurements as `final/NAME`, which TensorBoard compares between runs."""
        named = {f"final/{name}": value for name, value in measured.items()}

        def write(to: "SummaryWriter") -> None:
            from torch.utils.tensorboard.summary import hparams

            events = cast("FileWriter", to.file_writer)
            for summary in hparams(dict(parameters), named):  # type: ignore[no-untyped-call]
                events.add_summary(summary)
            for name, value in named.items():
                to.add_scalar(name, value, int(parameters.get("epochs", 0)))

        self._write(write)

    def hand_over(self, *, last: bool = False) -> None:
        """Gives away what was written so far, where it is time for that, or it is the last time."""
        now = self._clock()
        pause = max(FIRST_SECONDS, (now - self._began) / SHARE)
        if self._writer is not None and (last or now - self._last >= pause or not self._parts):
            self._last = now
            self._write(self._give_away)

    def _give_away(self, writer: "SummaryWriter") -> None:
        folder = Path(writer.log_dir)
        writer.close()
        self._writer = None
        self._parts += 1
        place = f"{self._job.attempt:04}.{self._job.resume_epoch:06}.{self._parts:06}"
        [written] = folder.iterdir()
        target = written.replace(self._folder / f"events.out.tfevents.{place}")
        folder.rmdir()
        self._send(EventsNote(str(target), self._parts))

    def _write(self, write: "Callable[[SummaryWriter], None]") -> None:
        if not self._usable:
            return
        try:
            write(self._writer or self._opened())
        except ModuleNotFoundError as problem:
            self._usable = False
            _LOG.info("nothing is written for TensorBoard: %s", problem)
        except Exception as problem:  # noqa: BLE001 - whatever is wrong with it, the training is worth more
            self._usable, self._writer = False, None
            _LOG.warning("nothing more is written for TensorBoard: %s: %s", type(problem).__name__, problem)

    def _opened(self) -> "SummaryWriter":
        from torch.utils.tensorboard import SummaryWriter

        self._folder.mkdir(parents=True, exist_ok=True)
        resumes = self._job.resume_epoch and not self._parts
        self._writer = SummaryWriter(
            tempfile.mkdtemp(dir=self._folder), purge_step=self._job.resume_epoch + 1 if resumes else None
        )
        return self._writer
