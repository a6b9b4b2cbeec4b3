"""What the fork server loads for all trainer processes, but for Ultralytics, whose settings are each job's own."""

import gc
import os

# Read when they are loaded; a process with threads must not be forked.
os.environ.update(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")

import cv2  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import onnx  # noqa: F401
import onnxruntime  # noqa: F401
import torch.utils.tensorboard  # noqa: F401
import torchvision  # noqa: F401

from tests.worker import forks  # noqa: F401

# Children share what nobody looks through.
gc.collect()
gc.freeze()
