"""A recipe that does what its parameters say; workers under test load it as `scripted`."""

import os
import signal
import subprocess
import time
from pathlib import Path

from bloomery_worker.context import Context, StopRequestedError
from bloomery_worker.failures import DataError
from bloomery_worker.messages import FileNote, MetricsNote, PreflightNote, ProgressNote
from bloomery_worker.recipe import Result


class ScriptedRecipe:
    """Epochs of `seconds` each with a checkpoint at their end; `trouble` comes after the first."""

    def preflight(self, context: Context) -> None:
        """Refuses on request, else says that 10 of 16 images fit."""
        if context.parameters.get("trouble") == "preflight":
            raise DataError("images are missing", hint="add them", items=["a.jpg", "b.jpg"])
        context.preflight(
            PreflightNote(
                device="cpu", batch=16, steps_per_epoch=10, peak_memory_bytes=3 << 30, memory_limit_bytes=2 << 30,
                largest_batch=10, seconds_per_step=0.5,
            )
        )  # fmt: skip

    def run(self, context: Context) -> Result:
        """Counts epochs."""
        epochs = int(context.parameters["epochs"])
        for epoch in range(context.job.resume_epoch, epochs):
            self._epoch(context, epoch, epochs)
            self._trouble(context)
        made = context.work_dir / "made.txt"
        made.write_text(f"{epochs} epochs", encoding="utf-8")
        file = FileNote(path=str(made), role="checkpoint", file_name="made.txt", media_type="text/plain")
        metrics: dict[str, float] = {"test/map50": 0.5}
        details: dict[str, object] = {"epochs": epochs}
        if context.parameters.get("trouble") == "no numbers":
            metrics["test/loss"], details["far"] = float("nan"), [float("inf")]
        return Result(files=(file,), metrics=metrics, details=details, versions={})

    def _epoch(self, context: Context, epoch: int, epochs: int) -> None:
        deadline = time.monotonic() + float(context.parameters["seconds"])
        while time.monotonic() < deadline:
            if context.should_stop() and not context.parameters.get("deaf"):
                raise StopRequestedError(epoch)
            time.sleep(0.01)
        done = epoch + 1
        context.epoch_end(
            ProgressNote(phase="training", epoch=done, epochs=epochs),
            MetricsNote(epoch=done, step=done, values={"train/loss": 1 / done}, epoch_end=True),
        )
        folder = context.work_dir / "checkpoints" / str(done)
        folder.mkdir(parents=True)
        (folder / "state.txt").write_text(str(done), encoding="utf-8")
        context.checkpoint(folder, epoch=done, best=True)

    def _trouble(self, context: Context) -> None:
        match context.parameters.get("trouble"):
            case "memory":
                raise MemoryError("no room for 40 GiB")
            case "gpu memory":
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            case "loader":
                raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
            case "bug":
                raise KeyError("nothing here")
            case "exit":
                print("last words of the trainer", flush=True)
                os._exit(7)
            case "child":
                child = subprocess.Popen(["sleep", "600"])
                Path(context.work_dir / "child.pid").write_text(str(child.pid), encoding="ascii")
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case _:
                return


recipe = ScriptedRecipe()
