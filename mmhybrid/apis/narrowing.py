"""The widths of a subnet, and the weights of necks and heads reduced to these widths."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmhybrid.models.backbones.base import output_widths
from mmhybrid.models.build import build_on_meta


def widths_of(backbone: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the numbers of channels of a configured backbone's outputs."""
    return output_widths(build_on_meta(backbone), backbone.get('in_channels', 3))


def narrowed(name: str, tensor: Tensor, shape: torch.Size, wide: Sequence[int], narrow: Sequence[int]) -> Tensor:
    """Return a tensor of a neck or head without the channels that are zero for the subnet.

    The superfluous channels of output k come directly after its used ones, whether a layer reads output k alone or
    together with later ones.
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
