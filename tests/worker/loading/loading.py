"""A recipe whose data loader has a child, which is killed as the kernel does when memory runs out."""

import os
import signal
from typing import Never

from torch.utils.data import DataLoader, Dataset

from bloomery_worker.context import Context
from bloomery_worker.recipe import Result


class Deadly(Dataset[int]):
    """Reading it ends the process that reads."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Never:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("it was killed")


class LoadingRecipe:
    """Reads its data, and does nothing else."""

    def preflight(self, context: Context) -> None:
        """Nothing can be known before."""

    def run(self, context: Context) -> Result:
        """Reads everything."""
        for _ in DataLoader(Deadly(), num_workers=1):
            context.log.info("a batch arrived")
        return Result(files=(), metrics={}, details={}, versions={})


recipe = LoadingRecipe()
