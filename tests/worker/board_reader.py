"""What TensorBoard shows of a training."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.worker.fake_trainer import FakeTrainer


def on_tensorboard(trainer: FakeTrainer, folder: Path) -> EventAccumulator:
    """The files of a training, as TensorBoard reads them."""
    for role in sorted(role for role in trainer.kept if role.startswith("tensorboard/")):
        (folder / trainer.kept[role].file_name).write_bytes(trainer.content(role))
    return EventAccumulator(str(folder)).Reload()
