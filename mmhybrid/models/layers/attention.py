"""Multi-head self-attention over a sequence of tokens."""

from torch import Tensor, nn
from torch.nn import functional as F

from mmhybrid.models.layers.basic import fused
from mmhybrid.models.layers.order import sort_hidden, sort_within_heads


class SelfAttention(nn.Module):
    """Softmax attention with one fused query-key-value projection.

    Inputs and outputs have ``embed_dims`` channels. A head has ``head_dim`` channels, which may differ from
    ``embed_dims / num_heads``.
    """

    def __init__(self, embed_dims: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.qkv = fused(nn.Linear(embed_dims, 3 * num_heads * head_dim), out=(3, num_heads, head_dim))
        self.proj = fused(nn.Linear(num_heads * head_dim, embed_dims), into=(num_heads, head_dim))
        self.num_heads = num_heads

    def forward(self, x: Tensor) -> Tensor:
        """(..., L, C) -> (..., L, C) with one or more leading axes."""
        tokens = x.flatten(0, -3)  # fused kernels and the ONNX exporter support one batch axis
        qkv = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(*qkv.unbind(0))
        return self.proj(heads.transpose(1, 2).flatten(2)).reshape(x.shape)

    def last_layer(self) -> nn.Linear:
        """Return the layer whose output is the attention's."""
        return self.proj

    def sort_channels(self) -> None:
        """Sort the heads, and the channels within each head, by importance."""
        sort_hidden([self.qkv], self.proj)
        sort_within_heads(self.qkv, self.proj)
