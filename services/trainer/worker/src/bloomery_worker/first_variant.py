"""The form in which a model that was just trained predicts."""

from functools import partial

from bloomery_vision.forms import FORMS
from bloomery_worker.context import Context, StopRequestedError
from bloomery_worker.failures import classify
from bloomery_worker.messages import ProgressNote
from bloomery_worker.variants import Original, Plan, Variant, failed_variant, make_variant

NO_EXPORT = "none"
EXPORTED = FORMS["onnx-fp32"]


def first_variant(context: Context, original: Original, *, epochs: int) -> tuple[Variant, ...]:
    """The model as ONNX, after so many epochs; none where the job wants none, as older ones do.

    That it cannot be had does not fail the training. Raises StopRequestedError.
    """

    def say(phase: str, _: float) -> None:
        context.progress(ProgressNote(phase=phase, epoch=epochs, epochs=epochs, fraction=1.0, device="cpu"))

    if context.parameters.get("export", NO_EXPORT) == NO_EXPORT:
        return ()
    try:
        check = partial(context.check_stop, epochs)
        return (make_variant(context, Plan(EXPORTED), original, say=say, check=check),)
    except StopRequestedError:
        raise
    except Exception as problem:  # noqa: BLE001 - the training has taken hours, and the export can be tried again
        why = classify(problem).message
        context.log.warning("the model has no ONNX variant, so that it cannot predict yet: %s", why)
        return (failed_variant(EXPORTED, why),)
