"""Losses of classifiers, each a mean over the images of a batch."""

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

ALPHA = 0.25
"""Weight of the positive side of the sigmoid's focal loss, the best of Lin et al."""


def softmax_loss(
    logits: Tensor, classes: Tensor, weights: Tensor, *, gamma: float = 0.0, smoothing: float = 0.0
) -> Tensor:
    """Cross entropy times the classes' weights; with `gamma` above 0 that of Lin et al. 2017, (1 - p)^gamma CE.

    Divided by the number of images, not by the sum of their weights, so that accumulated batches are one large one.

    Args:
        logits: float [B, C].
        classes: int64 [B].
        weights: float [C].
        gamma: how little images count that are easy already.
        smoothing: part of the truth that is spread over all classes.
    """
    each = cross_entropy(logits, classes, reduction="none", label_smoothing=smoothing)
    if gamma:
        sure = logits.log_softmax(dim=1).gather(1, classes[:, None])[:, 0].exp()
        each = (1 - sure) ** gamma * each
    return (each * weights[classes]).mean()


def sigmoid_loss(logits: Tensor, classes: Tensor, weights: Tensor, *, gamma: float = 0.0) -> Tensor:
    """Each class against all others: binary cross entropy, summed over the classes; with `gamma` above 0 focal.

    The focal form is that of Lin et al. 2017, alpha_t (1 - p_t)^gamma CE(p_t) with `ALPHA`, normalised by the number of
    positives, of which each image has one. Shapes as in `softmax_loss`.
    """
    truth = one_hot(classes, logits.shape[1]).to(logits.dtype)
    each = binary_cross_entropy_with_logits(logits, truth, reduction="none")
    if gamma:
        probability = logits.sigmoid()
        wrong = probability + truth - 2 * probability * truth
        each = (ALPHA * truth + (1 - ALPHA) * (1 - truth)) * wrong**gamma * each
    return (each.sum(dim=1) * weights[classes]).mean()
