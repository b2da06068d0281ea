"""Pooling as matrix products, for exporters, is torch's adaptive pooling."""

import pytest
import torch
from torch.nn import functional as F

from mmhybrid.models.layers.glmix import pool_by_products


@pytest.mark.parametrize(
    ('height', 'width', 'side'), [(7, 9, 4), (3, 2, 8), (64, 48, 8), (1, 1, 3), (13, 8, 8), (16, 16, 7)]
)
def test_equal_to_adaptive_pooling(height, width, side):
    x = torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    pooled, expected = pool_by_products(x, side), F.adaptive_avg_pool2d(x, side)
    torch.testing.assert_close(pooled, expected, rtol=0, atol=1e-14)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((out * weights).sum(), x, retain_graph=True)[0] for out in (pooled, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-13)
