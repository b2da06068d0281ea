"""The feed-forward network of a block."""

from collections import OrderedDict

from torch import nn
from typing_extensions import Self

from mmhybrid.models.layers.folding import Product, ResidualDepthwiseConv2d
from mmhybrid.models.layers.order import sort_hidden


class FFN(nn.Sequential):
    """A feed-forward network: a layer that widens, an activation, and a layer that narrows.

    The layers have the names of the released checkpoints, which differ between tokens and maps.
    """

    @classmethod
    def on_tokens(cls, embed_dims: int, hidden_dims: int, act: nn.Module | None = None) -> Self:
        """Return an FFN of two linear layers, (..., C) -> (..., C); the activation is GELU if ``act`` is None."""
        first, last = nn.Linear(embed_dims, hidden_dims), nn.Linear(hidden_dims, embed_dims)
        return cls(OrderedDict(fc1=first, act=nn.GELU() if act is None else act, fc2=last))

    @classmethod
    def on_maps(cls, embed_dims: int, hidden_dims: int, conv: bool) -> Self:
        """Return an FFN of two point-wise convolutions and GELU, (B, C, H, W) -> (B, C, H, W).

        With ``conv``, a residual depth-wise 3x3 convolution stands in front of the GELU.
        """
        layers: OrderedDict[str, nn.Module] = OrderedDict(conv1=nn.Conv2d(embed_dims, hidden_dims, 1))
        if conv:
            layers['dwconv'] = ResidualDepthwiseConv2d(hidden_dims, 3)
        layers['act'] = nn.GELU()
        layers['conv2'] = nn.Conv2d(hidden_dims, embed_dims, 1)
        return cls(layers)

    def last_layer(self) -> Product:
        """Return the layer whose output is the FFN's."""
        return self._products()[-1]

    def sort_channels(self) -> None:
        """Sort the hidden channels by importance."""
        *before, last = self._products()
        sort_hidden(before, last)

    def _products(self) -> list[Product]:
        return [layer for layer in self.children() if isinstance(layer, Product)]
