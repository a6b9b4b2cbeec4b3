"""What to compute on: the GPU where there is one that computes, else the processor."""

import torch

from bloomery_worker import machine
from bloomery_worker.context import Context
from bloomery_worker.training.plan import Plan

CPU = torch.device("cpu")


def usable(context: Context) -> torch.device:
    """The device of the job; the processor, with a warning that says why, where a GPU that it has does not compute."""
    device = torch.device(machine.device())
    if device == CPU:
        return _instead(context, "CUDA finds none") if context.job.gpus else CPU
    try:
        torch.ones(8, device=device).sum().item()
    except RuntimeError as problem:
        return _instead(context, str(problem).strip().partition("\n")[0])
    return device


def _instead(context: Context, why: str) -> torch.device:
    told = "the GPU cannot be used, the work goes on with the processor, which is much slower: %s"
    context.log.warning(told, why)
    return CPU


def name_of(device: torch.device) -> str:
    """The device for people."""
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)


def half(device: torch.device) -> torch.dtype:
    """The type of half precision that the device computes in: bfloat16, which needs no scaling, where it can."""
    return torch.bfloat16 if device.type == "cpu" or torch.cuda.is_bf16_supported() else torch.float16


def is_mixed(device: torch.device, plan: Plan) -> bool:
    """Whether a training computes in half precision where it is safe."""
    return plan.amp and device.type != "cpu"
