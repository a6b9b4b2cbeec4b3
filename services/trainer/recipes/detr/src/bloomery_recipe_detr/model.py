"""A published detector, ready to predict."""

import warnings
from pathlib import Path

import torch

from bloomery_recipe_detr import networks, published
from bloomery_vision.decoders import LETTERBOX, YOLO_END_TO_END
from bloomery_worker import machine
from bloomery_worker.predictor import Images, Outputs

OPSET = 18


class TrainedDetector:
    """A file of this recipe on a device; see `training.family.Model`.

    Raises:
        ConfigError: the file is none.
    """

    task = "detect"
    decoder = YOLO_END_TO_END
    resize = LETTERBOX

    def __init__(self, path: Path, *, device: str) -> None:
        about = published.read_about(path)
        network = networks.build(networks.fitted(networks.read_config(about.config), about.classes, about.side))
        network.load_state_dict(published.read_weights(path))
        self.classes, self.size = about.classes, (about.side, about.side)
        self._device = device
        self._network = networks.Boxes(network).to(device).eval().requires_grad_(False)

    def __call__(self, images: Images) -> Outputs:
        """Boxes float32 [B, K, 6] of uint8 RGB [B, H, W, 3]: x1, y1, x2, y2 in pixels, score, class."""
        with torch.inference_mode():
            return (self._network(torch.from_numpy(images).to(self._device)).cpu().numpy(),)

    def write_onnx(self, path: Path) -> None:
        """Writes it as ONNX; the choice of the best boxes is part of the graph."""
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


def open_model(path: Path, *, threads: int) -> TrainedDetector:
    """A model on the device of this process, which computes with so many threads where that is the processor."""
    torch.set_num_threads(threads)
    return TrainedDetector(path, device=machine.device())
