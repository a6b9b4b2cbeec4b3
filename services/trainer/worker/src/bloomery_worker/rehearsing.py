"""Says what was found out about a step before the first, the same for all recipes."""

from bloomery_worker.context import Context
from bloomery_worker.memory import DeviceMemory, Rehearsal
from bloomery_worker.messages import PreflightNote

CPU_SECONDS = 2.0
"""A step that takes a CPU longer is estimated from smaller ones: people wait for the first one."""


def tell(context: Context, done: Rehearsal, memory: DeviceMemory, *, device: str, steps_per_epoch: int) -> None:
    """Tells people, and warns where a step takes more memory than the job asked for."""
    note = PreflightNote(
        device=device,
        batch=done.step.batch,
        steps_per_epoch=steps_per_epoch,
        peak_memory_bytes=done.step.peak_bytes,
        memory_limit_bytes=memory.limit_bytes,
        largest_batch=done.largest_batch,
        seconds_per_step=done.step.seconds,
    )
    context.preflight(note)
    context.log.info("preflight: %s", sentence(note))
    share = context.job.memory_share
    if not memory.on_gpu and share and done.step.peak_bytes > share:
        context.log.warning(
            "a step takes %s of memory, more than the %s that the job asked for: other jobs may run out of it;"
            " give the job more memory, or choose a smaller batch or image size",
            _gib(done.step.peak_bytes), _gib(share),
        )  # fmt: skip


def sentence(note: PreflightNote) -> str:
    """A preflight for people."""
    fit = f"at most {note.largest_batch} fit" if note.largest_batch else "how many fit is not known"
    epoch = note.seconds_per_step * note.steps_per_epoch
    return (
        f"a step of {note.batch} images takes {_gib(note.peak_memory_bytes)} of {_gib(note.memory_limit_bytes)}"
        f" ({fit}) and, at the moment, {note.seconds_per_step:.2g} s; {note.steps_per_epoch} steps are an epoch of"
        f" about {epoch:.0f} s"
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
