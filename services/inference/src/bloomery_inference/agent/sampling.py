"""A sample that a model must answer before it is called ready."""

import numpy as np
from numpy.typing import NDArray

from bloomery_inference.agent.model import PlannedModel
from bloomery_inference.model import InputSpec
from bloomery_inference.outputs import OUTPUTS
from bloomery_inference.runtime import ModelFailed, Tensors
from bloomery_vision.interpret import OutputError, check_outputs


def sample(spec: InputSpec) -> NDArray[np.uint8]:
    """A batch [1, H, W, 3] of one image with every brightness in it, always the same."""
    count = spec.height * spec.width * 3
    return (np.arange(count, dtype=np.uint32) % 251).astype(np.uint8).reshape(1, spec.height, spec.width, 3)


def check_answer(model: PlannedModel, tensors: Tensors) -> None:
    """Raise ModelFailed unless these are the outputs of such a model for one image, and numbers."""
    outputs = [tensors[name] for name in OUTPUTS if name in tensors]
    if not outputs:
        raise ModelFailed(model.uid, f"it has no output {OUTPUTS[0]}, only {', '.join(tensors) or 'none'}")
    try:
        check_outputs(model.decoder, [output[0] for output in outputs], len(model.classes))
    except OutputError as error:
        raise ModelFailed(model.uid, str(error)) from error
    except IndexError as error:
        shapes = ", ".join(str(output.shape) for output in outputs)
        raise ModelFailed(model.uid, f"its outputs have the shapes {shapes}") from error
