"""A published classifier, ready to predict."""

import warnings
from pathlib import Path

import torch

from bloomery_recipe_timm import networks, published
from bloomery_vision.decoders import PROBABILITIES
from bloomery_worker import machine
from bloomery_worker.failures import ConfigError
from bloomery_worker.predictor import Images, Outputs

OPSET = 18


class TrainedClassifier:
    """A file of this recipe on a device; see `training.family.Model`.

    Raises:
        ConfigError: the file is none.
    """

    task = "classify"
    decoder = PROBABILITIES

    def __init__(self, path: Path, *, device: str) -> None:
        about = published.read_about(path)
        if about is None:
            raise ConfigError("the file is no model of this recipe", hint="name a model version that it has trained")
        network = networks.build(about.architecture, len(about.classes))
        network.load_state_dict(published.read_weights(path))
        self.about, self.classes = about, about.classes
        self.size, self.resize = (about.side, about.side), about.resize
        self._device = device
        whole = networks.Probabilities(network, about.activation, torch.tensor(about.bias))
        self._network = whole.to(device).eval().requires_grad_(False)

    def __call__(self, images: Images) -> Outputs:
        """Probabilities float32 [B, C] of uint8 RGB [B, H, W, 3]."""
        with torch.inference_mode():
            return (self._network(torch.from_numpy(images).to(self._device)).cpu().numpy(),)

    def write_onnx(self, path: Path) -> None:
        """Writes it as ONNX; probabilities, and so the borders between classes, are part of the graph."""
        # Two images: an export with one folds the batch axis into constants.
        sample = torch.zeros((2, *self.size, 3), dtype=torch.uint8)
        with warnings.catch_warnings():
            # The tracer warns about every shape that it takes for a constant, which they are.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                self._network.cpu(),
                (sample,),
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=["images"],
                output_names=["output0"],
                dynamic_axes={"images": {0: "batch"}, "output0": {0: "batch"}},
            )
        self._network.to(self._device)


def open_model(path: Path, *, threads: int) -> TrainedClassifier:
    """A model on the device of this process, which computes with so many threads where that is the processor."""
    torch.set_num_threads(threads)
    return TrainedClassifier(path, device=machine.device())
