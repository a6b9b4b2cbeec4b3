#!/usr/bin/env bash
# On k x k convolutions PEFT's OFT changes the model before training, and LoRA with reflecting edges merges wrongly.
#
# Versions: peft 0.21.2, torch 2.15.0, Python 3.11, CPU. Installs some GB: PyPI's torch for Linux brings CUDA with it.
# Input:    one Conv2d of 16 to 16 channels on random values. (1) OFTConfig(r=4), fresh. (2) LoraConfig(r=4) on
#           padding_mode="reflect", its matrices filled with random values in place of a training, then merged.
# Expected: a fresh adapter changes nothing, and a merged layer answers as the unmerged one did; so it is for 1 x 1.
# Seen:     (1) the fresh OFT adapter is off by 3 times the largest value for 3 x 3, and merging it changes the answer
#           once more. (2) merged and unmerged differ by 0.4 of the largest value: the convolution of the adapter pads
#           with zeros, the merged kernel reflects. No error and no warning in either case.
# Why care: (1) training starts from a broken model and may recover somewhat, so that it only looks like a poor method.
#           (2) what was evaluated is not what is exported.
# Instead:  for detectors take LoRA, and leave out (or train fully) convolutions whose padding_mode is not zeros;
#           compare the outputs before and after merging, always.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile uv==0.13.8 # unpacks gigabytes many times as fast as pip
venv/bin/uv pip install --quiet --python venv/bin/python torch==2.15.0 peft==0.21.2
venv/bin/python - <<'PY'
import copy

import torch
from peft import LoraConfig, OFTConfig, inject_adapter_in_model
from torch import Tensor, nn


def off(one: Tensor, other: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return float((one - other).abs().max() / other.abs().max())


def tried(config: LoraConfig | OFTConfig, convolution: nn.Conv2d) -> tuple[float, float]:
    """How far a fresh adapter is off the base model, and a merged one off the unmerged."""
    base = nn.Sequential(copy.deepcopy(convolution)).eval()
    adapted = inject_adapter_in_model(config, copy.deepcopy(base)).eval()
    fresh = off(adapted(values), base(values))
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter += 0.1 * torch.randn_like(parameter)
    unmerged = adapted(values)
    adapted[0].merge()
    return fresh, off(adapted(values), unmerged)


torch.manual_seed(0)
seen = {}
with torch.no_grad():
    values = torch.randn(1, 16, 8, 8)
    for size in (1, 3):
        plain = nn.Conv2d(16, 16, size, padding=size // 2)
        reflecting = nn.Conv2d(16, 16, size, padding=size // 2, padding_mode="reflect")
        oft, lora = OFTConfig(r=4, oft_block_size=0, target_modules=["0"]), LoraConfig(r=4, target_modules=["0"])
        seen[size] = tried(oft, plain), tried(lora, plain), tried(lora, reflecting)
        for what, (fresh, merged) in zip(("OFT", "LoRA", "LoRA, reflecting"), seen[size], strict=True):
            print(f"{size} x {size}, {what}: fresh off by {fresh:.2g}, merged off by {merged:.2g}")
right = max(*seen[1][0], *seen[1][1], *seen[1][2], *seen[3][1], seen[3][2][0])
if not (right < 1e-4 and seen[3][0][0] > 1 and seen[3][2][1] > 0.1):
    raise SystemExit("this is not what the header says")
PY
