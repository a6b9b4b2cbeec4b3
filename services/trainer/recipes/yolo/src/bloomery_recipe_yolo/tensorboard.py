"""The table of epochs as a file that TensorBoard reads."""

import csv
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

EVENTS_FILE = "events.out.tfevents.training"
"""TensorBoard knows its files by a part of their names."""


def write_events(epochs_csv: str, target: Path, *, clock: Callable[[], float] = time.time) -> None:
    """Writes a curve for each column of a table (CSV text with `epoch`, and `time` in seconds of training).

    The table outlives restarts of the training, so the curves are whole even where several processes made them.
    """
    rows = list(csv.DictReader(io.StringIO(epochs_csv)))
    began = clock() - (float(rows[-1]["time"]) if rows else 0.0)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        with SummaryWriter(folder) as writer:
            for row in rows:
                epoch, moment = int(row.pop("epoch")), began + float(row.pop("time"))
                for name, value in row.items():
                    writer.add_scalar(name, float(value), epoch, moment)
        (written,) = Path(folder).iterdir()
        written.replace(target)
