"""Trainers of a job, set up alike whether they train it or only try something."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from bloomery_recipe_yolo import augmenting, kept, rehearsal
from bloomery_recipe_yolo.exact import ExactTrainer, Keep
from bloomery_recipe_yolo.flavours import Flavour
from bloomery_recipe_yolo.lora.choosing import Choice
from bloomery_worker import machine
from bloomery_worker.best import best_by
from bloomery_worker.context import Context
from bloomery_worker.layout import Laid


class Making:
    """Before the first of its trainers begins, the data and what a step takes are looked at.

    Args:
        context: of the job.
        flavour: of its task.
        laid: its images.
        arguments: the library's, of the job.
    """

    def __init__(self, context: Context, flavour: Flavour, laid: Laid, arguments: Mapping[str, object]) -> None:
        self._context, self._flavour, self._laid, self._arguments = context, flavour, laid, arguments
        self._looked = False

    def trainer(
        self,
        choice: Choice,
        arguments: Mapping[str, object],
        checkpoints: Path,
        keep: Keep,
        resume_from: Path | None = None,
    ) -> ExactTrainer:
        """One that trains what was chosen, with `arguments` in place of the job's."""
        job = self._context.job
        shutil.rmtree(checkpoints, ignore_errors=True)
        trainer = self._flavour.trainer(
            {**self._arguments, "lr0": choice.rate, **arguments},
            checkpoints=checkpoints,
            keep=keep,
            rehearse=self._begin,
            resume_from=resume_from,
            spec=choice.spec,
            classes=job.classes,
            best_by=best_by(job.parameters, job.classes),
        )
        # The library has just taken all cores but one, whatever the job was given.
        torch.set_num_threads(machine.threads(job.cpus))
        trainer.add_callback("on_pretrain_routine_end", augmenting.check)
        if choice.spec is not None:
            trainer.add_callback("on_train_start", self._check_frozen)
        return trainer

    def _begin(self, trainer: ExactTrainer) -> None:
        if not self._looked:
            self._looked = True
            kept.check(self._context, trainer, self._laid, self._flavour.kept, self._flavour.select)
            rehearsal.report(self._context, trainer)

    def _check_frozen(self, trainer: ExactTrainer) -> None:
        share = trainer.check_frozen()
        self._context.log.info("%.1f %% of the parameters are trained, all others are frozen", 100 * share)


def train_with(trainer: ExactTrainer) -> None:
    """Lets it train. Raises DataError where no image of a split can be used."""
    try:
        trainer.train()
    except RuntimeError as problem:
        kept.check_ignored(problem)
        raise
