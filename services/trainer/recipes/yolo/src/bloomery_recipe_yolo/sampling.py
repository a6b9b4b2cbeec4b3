"""Shows what the model sees in some images while it is trained."""

from functools import cached_property

from bloomery_recipe_yolo.exact import ExactTrainer
from bloomery_recipe_yolo.flavours import Flavour
from bloomery_recipe_yolo.model import raw_outputs
from bloomery_vision.interpret import NotFiniteError
from bloomery_worker.context import Context
from bloomery_worker.samples import Samples, is_due


class Sampler:
    """Predicts with the averaged weights, as they are published; changes neither them nor any seed.

    Args:
        context: of the job.
        flavour: of its task.
        size: (height, width) of the model's input.
    """

    def __init__(self, context: Context, flavour: Flavour, size: tuple[int, int]) -> None:
        self._context, self._flavour, self._size = context, flavour, size
        # A job from before there was this parameter has none.
        self._count = int(context.parameters.get("sample_predictions", 0))

    def attach(self, trainer: ExactTrainer) -> None:
        """Begins to show."""
        if self._count:
            trainer.add_callback("on_fit_epoch_end", self._epoch_end)

    @cached_property
    def _samples(self) -> Samples:
        return Samples(
            self._context.dataset,
            self._context.job.classes,
            self._flavour.decoder,
            self._size,
            resize=self._flavour.resize,
            count=self._count,
        )

    def _epoch_end(self, trainer: ExactTrainer) -> None:
        done = trainer.epoch + 1
        if not is_due(done, trainer.epochs, last=trainer.stop):
            return
        outputs = raw_outputs(trainer.ema.ema, self._samples.images, device=trainer.device)
        try:
            self._context.samples(self._samples.note(outputs, epoch=done))
        except NotFiniteError as problem:
            self._context.log.warning("no samples after epoch %d: %s", done, problem)
