"""What to compute on: the GPU where there is one that computes, else the processor."""

import logging

import torch

from bloomery_worker import machine
from bloomery_worker.training.plan import Plan

CPU = torch.device("cpu")


def usable(log: logging.Logger) -> torch.device:
    """The device of the job; the processor, with a warning that says why, where the GPU does not compute."""
    device = torch.device(machine.device())
    if device == CPU:
        return CPU
    try:
        torch.ones(8, device=device).sum().item()
    except RuntimeError as problem:
        why = str(problem).strip().partition("\n")[0]
        log.warning("the GPU cannot be used, training goes on with the processor, which is much slower: %s", why)
        return CPU
    return device


def name_of(device: torch.device) -> str:
    """The device for people."""
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)


def half(device: torch.device) -> torch.dtype:
    """The type of half precision that the device computes in: bfloat16, which needs no scaling, where it can."""
    return torch.bfloat16 if device.type == "cpu" or torch.cuda.is_bf16_supported() else torch.float16


def is_mixed(device: torch.device, plan: Plan) -> bool:
    """Whether a training computes in half precision where it is safe."""
    return plan.amp and device.type != "cpu"
