"""The feed-forward network of all families, against the products that it is made of."""

import pytest
import torch
from torch.nn import functional as F

from mmhybrid.models.layers.ffn import FFN
from mmhybrid.models.layers.order import sort_channels


def test_on_tokens_is_two_products_around_an_activation() -> None:
    ffn, x = FFN.on_tokens(6, 10), torch.randn(2, 5, 6)
    weights = dict(ffn.named_parameters())
    hidden = F.gelu(x @ weights['fc1.weight'].T + weights['fc1.bias'])
    torch.testing.assert_close(ffn(x), hidden @ weights['fc2.weight'].T + weights['fc2.bias'])


@pytest.mark.parametrize('conv', [False, True])
def test_on_maps_is_the_same_at_each_pixel_but_for_the_convolution(conv: bool) -> None:
    ffn, x = FFN.on_maps(6, 10, conv), torch.randn(2, 6, 4, 3)
    weights = dict(ffn.named_parameters())
    hidden = torch.einsum('bchw,oc->bohw', x, weights['conv1.weight'].flatten(1)) + weights['conv1.bias'].view(-1, 1, 1)
    if conv:
        hidden = hidden + F.conv2d(hidden, weights['dwconv.weight'], weights['dwconv.bias'], padding=1, groups=10)
    out = torch.einsum('bchw,oc->bohw', F.gelu(hidden), weights['conv2.weight'].flatten(1))
    torch.testing.assert_close(ffn(x), out + weights['conv2.bias'].view(-1, 1, 1))


@pytest.mark.parametrize(
    ('ffn', 'shape'),
    [
        (FFN.on_tokens(6, 10), (2, 5, 6)),
        (FFN.on_tokens(6, 10, torch.nn.PReLU()), (2, 5, 6)),  # whose one weight is of no channel
        (FFN.on_maps(6, 10, conv=True), (2, 6, 4, 3)),
    ],
)
def test_sorted_it_computes_the_same_and_what_counts_comes_first(ffn: FFN, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    before = ffn(x)
    sort_channels(ffn)
    torch.testing.assert_close(ffn(x), before)
    importance = ffn.last_layer().weight.abs().flatten(1).sum(0)
    assert importance.equal(importance.sort(descending=True).values)
