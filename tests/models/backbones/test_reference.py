"""GLNet and GLiT against what their published implementations compute for the same weights and input."""

import pytest
import torch

from mmhybrid.models.convert import convert
from mmhybrid.registry import MODELS

TOLERANCE = 1e-5  # the published code itself, in float32, is at 6e-7 of its float64


def relative_error(out, reference):
    return ((out - reference).norm() / reference.norm()).item()


def run(published, name):
    """Logits, and the output of each published stage or block."""
    checkpoint = convert(published.weights, name.partition('_')[2])
    weights = checkpoint['state_dict']
    backbone = MODELS.build(checkpoint['meta']['backbone']).eval()
    backbone.load_state_dict({k.removeprefix('backbone.'): v for k, v in weights.items() if k.startswith('backbone.')})
    parts = [stage[-1] for stage in backbone.stages] if hasattr(backbone, 'stages') else backbone.blocks
    outs = []
    for part in parts:
        part.register_forward_hook(lambda _module, _args, out: outs.append(out))
    with torch.no_grad():
        (features,) = backbone(published.images)
    weight, bias = (value for name, value in weights.items() if name.startswith('head.'))
    pooled = features.mean((2, 3)) if features.ndim == 4 else features
    return pooled @ weight.T + bias, outs


@pytest.mark.parametrize('name', ['glnet_stl', 'glnet_4g', 'glit_tiny'])
def test_backbone_computes_what_the_published_code_computes(name, published):
    reference = published(name).outputs
    logits, outs = run(published(name), name)
    kind = 'stage' if name.startswith('glnet') else 'block'
    for i, out in enumerate(outs, 1):
        corner = out[:, :8, :4, :4] if kind == 'stage' else out[:, :4, :8]
        mean_std = torch.stack((out.double().mean(), out.double().std(unbiased=False)))
        assert relative_error(corner, reference[f'{kind}{i}_corner']) < TOLERANCE, f'{kind} {i}'
        assert relative_error(mean_std, reference[f'{kind}{i}_mean_std']) < TOLERANCE, f'{kind} {i}'
    assert len(outs) == sum(key.endswith('_corner') for key in reference)
    assert relative_error(logits, reference['logits']) < TOLERANCE
