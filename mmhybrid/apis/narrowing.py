"""The widths of a subnet, and the weights of necks and heads that read no more of the supernet's."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmhybrid.models.backbones.base import output_widths
from mmhybrid.models.build import build_on_meta


def widths_of(backbone: Mapping[str, Any]) -> tuple[int, ...]:
    """Channels of the outputs of the backbone that a config describes."""
    return output_widths(build_on_meta(backbone), backbone.get('in_channels', 3))


def narrowed(name: str, tensor: Tensor, shape: torch.Size, wide: Sequence[int], narrow: Sequence[int]) -> Tensor:
    """A tensor of a neck or head without the channels that are zero for the subnet.

    Those of output k lie behind its own, whether a layer reads output k alone or with others after it.
    """
    for axis, (have, want) in enumerate(zip(tensor.shape, shape, strict=True)):
        if have != want:
            places = [k for k, width in enumerate(wide) if width - narrow[k] == have - want and width <= have]
            if not places:
                raise ValueError(f'{name} cannot be made narrower, from {have} to {want} channels')
            k = next((k for k in places if wide[k] == have), places[-1])
            parts = tensor.narrow(axis, 0, narrow[k]), tensor.narrow(axis, wide[k], have - wide[k])
            tensor = torch.cat(parts, axis)
    return tensor.clone()
