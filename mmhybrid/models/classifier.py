"""Plain classifiers around backbones, without OpenMMLab, and reproducible random weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """A classifier: a backbone, the mean over its last output if that is a map, and a linear layer.

    Args:
        backbone: Backbone, of which the last output is used.
        in_width: Channels of that output.
        num_classes: Number of classes; None to return the last output unchanged.
    """

    def __init__(self, backbone: nn.Module, in_width: int, num_classes: int | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = None if num_classes is None else nn.Linear(in_width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, num_classes), or the last output, for images (B, 3, H, W)."""
        x = self.backbone(x)[-1]
        if self.head is None:
            return x
        logits: Tensor = self.head(x.mean((2, 3)) if x.ndim == 4 else x)
        return logits


@contextmanager
def own_generator() -> Iterator[None]:
    """Seed torch's random numbers with 0 in a context, and restore the state of its global generator afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield
