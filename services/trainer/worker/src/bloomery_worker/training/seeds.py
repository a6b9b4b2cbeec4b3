"""Randomness that is anchored, not carried over: each epoch and sample begins from the seed and its own number."""

import hashlib
import random

import numpy as np
import torch


def number(*parts: int) -> int:
    """A number of 56 bits that depends on all parts."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:7])


def anchor(seed: int, epoch: int) -> None:
    """Seeds all generators of this process for an epoch."""
    start = number(seed, epoch)
    random.seed(start)
    np.random.seed(start % 2**32)
    torch.manual_seed(start)
