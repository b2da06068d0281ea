"""The sigmoid focal loss."""

import torch
from torch import Tensor

from mmhybrid.mmcv_ops.precision import at_least_single
from mmhybrid.utils.checks import bad_value

_TINY = torch.finfo(torch.float32).tiny  # FLT_MIN of the compiled kernels


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``output`` with the focal loss of each logit.

    Args:
        input: Logits, (n, classes).
        target: Indices of classes, (n,); the number of classes stands for the background.
        weight: Weight of each class, (classes,), or an empty tensor.
        output: Losses, (n, classes).
        gamma: Exponent of one minus the probability of the target.
        alpha: Weight of positives; negatives have the weight ``1 - alpha``.

    Raises:
        ValueError: If a target is larger than the number of classes.
    """
    if len(target) and int(target.max()) > input.shape[1]:
        raise bad_value('target', int(target.max()), f'at most {input.shape[1]}, the number of classes')
    p = torch.sigmoid(at_least_single(input))
    positive = -alpha * (1 - p) ** gamma * p.clamp(min=_TINY).log()
    negative = (alpha - 1) * p**gamma * (1 - p).clamp(min=_TINY).log()
    output.copy_(_by_class(positive, negative, target, weight))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fill ``grad_input`` with the derivative of each loss of :func:`sigmoid_focal_loss_forward` by its logit."""
    p = torch.sigmoid(at_least_single(input))
    positive = -alpha * (1 - p) ** gamma * (1 - p - gamma * p * p.clamp(min=_TINY).log())
    negative = (alpha - 1) * p**gamma * (gamma * (1 - p) * (1 - p).clamp(min=_TINY).log() - p)
    grad_input.copy_(_by_class(positive, negative, target, weight))


def _by_class(positive: Tensor, negative: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    classes = torch.arange(positive.shape[1], device=positive.device)
    chosen = torch.where(target[:, None] == classes, positive, negative)
    return chosen if weight.numel() == 0 else chosen * weight[target][:, None]
