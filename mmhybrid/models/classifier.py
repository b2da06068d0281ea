"""Backbones as plain classifiers, outside any host, and random weights that are always the same."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """A backbone, the mean over its last map where it is one, and a linear layer if there are classes.

    Args:
        backbone: Its last output counts.
        in_width: Channels of that output.
        num_classes: None for the last output as it is.
    """

    def __init__(self, backbone: nn.Module, in_width: int, num_classes: int | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = None if num_classes is None else nn.Linear(in_width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> logits (B, num_classes), or the last output."""
        x = self.backbone(x)[-1]
        if self.head is None:
            return x
        logits: Tensor = self.head(x.mean((2, 3)) if x.ndim == 4 else x)
        return logits


@contextmanager
def own_generator() -> Iterator[None]:
    """Random numbers that are always the same, and leave torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield
