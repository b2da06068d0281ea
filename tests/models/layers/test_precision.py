"""Layers raise the precision of half types and keep that of float64, so that gradients can be checked."""

import pytest
import torch
from torch.autograd import gradcheck

from mmhybrid.models.backbones.glit import resize_pos_embed
from mmhybrid.models.heads.token_label_head import soft_cross_entropy
from mmhybrid.models.heads.token_targets import dense_maps
from mmhybrid.models.layers.glmix import LocalConv, SlotAttention, WindowAttention


def doubles(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize('learned_slots', [False, True])
def test_gradients_of_slot_attention(learned_slots: bool) -> None:
    torch.manual_seed(0)
    layer = SlotAttention(8, 4, head_dim=4, learned_slots=learned_slots).double()
    torch.nn.init.constant_(layer.scale, 2.0)

    def run(x: torch.Tensor, block_input: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        inputs = (x, layer.initial_slots(block_input))
        out: torch.Tensor = torch.func.functional_call(layer, {'scale': scale}, inputs)
        return out

    assert gradcheck(run, (doubles(2, 8, 3, 4), doubles(2, 8, 3, 4), layer.scale.detach().requires_grad_()))


@pytest.mark.parametrize('layer', [LocalConv(4, 3), WindowAttention(8, 4, 2)], ids=lambda layer: type(layer).__name__)
def test_gradients_of_local_branches(layer: torch.nn.Module) -> None:
    width = 8 if isinstance(layer, WindowAttention) else 4
    assert gradcheck(layer.double(), doubles(1, width, 3, 3))


def test_gradients_of_the_token_loss() -> None:
    target = torch.rand(2, 3, 2, 2, dtype=torch.float64).softmax(1)
    assert gradcheck(lambda logits: soft_cross_entropy(logits, target), doubles(2, 3, 2, 2))


def test_gradients_of_resized_position_embeddings() -> None:
    assert gradcheck(lambda embedding: resize_pos_embed(embedding, (2, 2), (3, 2)), doubles(1, 5, 2))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_types_are_raised(dtype: torch.dtype) -> None:
    logits, target = torch.randn(2, 3, dtype=dtype), torch.rand(2, 3)
    assert soft_cross_entropy(logits, target).dtype == torch.float32
    assert dense_maps(torch.zeros(1, 2, 1, 2, 2, dtype=dtype), 3).dtype == torch.float32
    assert dense_maps(torch.zeros(1, 2, 1, 2, 2, dtype=torch.float64), 3).dtype == torch.float64
