"""The local and the global branch of GLNet's token mixers (GLNet, section 3 and figure 4)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmhybrid import torch_api
from mmhybrid.models.layers.attention import SelfAttention
from mmhybrid.models.layers.basic import at_least_float32, depthwise_conv2d
from mmhybrid.models.layers.order import sort_by_distance, sort_hidden


class LocalConv(nn.Module):
    """The local branch: a point-wise, a depth-wise and a point-wise convolution."""

    def __init__(self, embed_dims: int, kernel_size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(embed_dims, embed_dims, 1)
        self.dwconv = depthwise_conv2d(embed_dims, kernel_size)
        self.conv2 = nn.Conv2d(embed_dims, embed_dims, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return self.conv2(self.dwconv(self.conv1(x)))

    def last_layer(self) -> nn.Conv2d:
        """Return the layer whose output is the branch's."""
        return self.conv2

    def sort_channels(self) -> None:
        """Sort the channels between the point-wise convolutions by importance."""
        sort_hidden([self.conv1, self.dwconv], self.conv2)


class WindowAttention(SelfAttention):
    """Attention within windows of ``window_size`` x ``window_size`` pixels, in place of the local branch (table 6).

    Maps whose sides are not multiples of the window size are padded with zeros at the bottom and the right.
    """

    def __init__(self, embed_dims: int, head_dim: int = 32, window_size: int = 7) -> None:
        super().__init__(embed_dims, embed_dims // head_dim, head_dim)
        self.window_size = window_size

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        size, (height, width) = self.window_size, x.shape[2:]
        # no negative numbers: torch.compile lacks their modulo, and ONNX's integer division rounds towards zero
        below, right = ((side + size - 1) // size * size - side for side in (height, width))
        x = F.pad(x, (0, right, 0, below))
        grid = x.permute(0, 2, 3, 1).unflatten(2, (-1, size)).unflatten(1, (-1, size))
        windows = grid.transpose(2, 3).flatten(3, 4)  # (B, rows, columns, pixels, C)
        out = super().forward(windows).unflatten(3, (size, size)).transpose(2, 3)
        return out.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)[..., :height, :width]


def pool_by_products(x: Tensor, side: int) -> Tensor:
    """Compute ``F.adaptive_avg_pool2d``, (B, C, H, W) -> (B, C, side, side), by two matrix products.

    Exporters support these for maps of any size.
    """
    rows, columns = (_bins(size, side, x) for size in (x.shape[2], x.shape[3]))
    return rows @ x @ columns.transpose(0, 1)


def _bins(size: int, bins: int, like: Tensor) -> Tensor:
    """Return the matrix (bins, size) that averages ``size`` values over ``bins`` intervals, which may overlap."""
    number = torch.arange(bins, device=like.device)[:, None]
    begin, end = number * size // bins, ((number + 1) * size + bins - 1) // bins
    place = torch.arange(size, device=like.device)
    inside = torch.logical_and(place >= begin, place < end).to(like.dtype)
    return inside / (end - begin).to(like.dtype)


class SlotAttention(nn.Module):
    """The global branch: soft clustering of pixels into slots, attention among slots, and dispatch to the pixels.

    ``num_slots`` is a square number. Slots start as an average pool of the map with sqrt(num_slots) rows and columns
    or, with ``learned_slots``, as parameters (equations 1 to 4 of the paper). Their number does not depend on the size
    of the map, so the cost is linear in the number of pixels. With ``fixed_scale``, the scale of the cosine similarity
    is a buffer instead of a parameter.
    """

    def __init__(
        self,
        embed_dims: int,
        num_slots: int,
        head_dim: int = 32,
        learned_slots: bool = False,
        fixed_scale: bool = False,
    ) -> None:
        super().__init__()
        scale = torch.tensor(embed_dims**-0.5)
        self.scale: Tensor
        if fixed_scale:
            self.register_buffer('scale', scale)
        else:
            self.scale = nn.Parameter(scale)
        self.attention = SelfAttention(embed_dims, embed_dims // head_dim, head_dim)
        self.grid_size = round(num_slots**0.5)
        self.init_slots = nn.Parameter(torch.randn(1, num_slots, embed_dims) * 0.02) if learned_slots else None

    def initial_slots(self, block_input: Tensor) -> Tensor:
        """Return the initial slots, (B or 1, M, C), for the block's input (B, C, H, W)."""
        if self.init_slots is not None:
            return self.init_slots
        exporting = torch.onnx.is_in_onnx_export() or torch_api.is_exporting()
        pool = pool_by_products if exporting else F.adaptive_avg_pool2d
        return pool(block_input, self.grid_size).flatten(2).transpose(1, 2)

    def logits(self, slots: Tensor, x: Tensor) -> Tensor:
        """Return the scaled cosine similarity (B, M, L) of slots (B, M, C) and pixels (B, C, L), equation 2.

        The L2 norms are computed in at least float32: in float16, the squares of a map with many channels overflow, and
        the epsilon becomes 0. The epsilon is so large that its inverse square root is finite in float16, so that the
        similarity to a pixel of zeros is 0.
        """
        slots = F.normalize(at_least_float32(slots), dim=-1) * self.scale
        inverse_norm = at_least_float32(x).square().sum(1, keepdim=True).clamp_min(1e-8).rsqrt()
        return (slots.to(x.dtype) @ x) * inverse_norm.to(x.dtype)

    def forward(self, x: Tensor, slots: Tensor) -> Tensor:
        """Normalised map (B, C, H, W) and initial slots (B, M, C) -> global features (B, C, H, W)."""
        pixels = x.flatten(2)
        logits = self.logits(slots, pixels)
        slots = self.attention(logits.softmax(-1) @ pixels.transpose(1, 2))
        # computed as (B, L, C), since the local branch's output behind a LayerNorm2d has this memory order
        return (logits.softmax(1).transpose(1, 2) @ slots).transpose(1, 2).reshape(x.shape)

    def last_layer(self) -> nn.Linear:
        """Return the layer whose outputs the branch averages for each pixel, with weights that sum to 1."""
        return self.attention.last_layer()

    def sort_channels(self) -> None:
        """Sort the slots with :func:`sort_by_distance` if they are learned."""
        if self.init_slots is not None:
            self.init_slots.copy_(sort_by_distance(self.init_slots[0])[None])
