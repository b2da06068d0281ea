"""What every backbone must keep, whatever its family. A new one joins by its rows in the tables below."""

import copy
import importlib
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from layouts import GradientProbe, assert_contiguous
from mmcv.cnn.bricks import DropPath
from mmengine.logging import MMLogger
from mmengine.model import ExponentialMovingAverage
from mmengine.utils import import_modules_from_strings
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmhybrid.archs import AutoViTArch, EfficientNetLiteArch, GLiTArch, GLNetArch
from mmhybrid.models.backbones import AutoViT, EfficientNetLite, GLiT, GLNet
from mmhybrid.models.backbones.base import HybridBackbone
from mmhybrid.models.build import on_meta
from mmhybrid.models.layers.glmix import SlotAttention
from mmhybrid.torch_api import EXPORTING, TORCH

# Parameter prefixes that frozen_stages=0 freezes, that frozen_stages=1 adds, ...
GLNET_PARTS = (
    ('downsamplers.0',),
    ('stages.0', 'out_norms.0'),
    ('downsamplers.1', 'stages.1', 'out_norms.1'),
    ('downsamplers.2', 'stages.2', 'out_norms.2'),
    ('downsamplers.3', 'stages.3', 'out_norms.3', 'norm'),
)
AUTOVIT_PARTS = (
    ('stem',),
    ('conv_stages.0', 'conv_stages.1', 'out_norms.0'),
    ('conv_stages.2', 'transformer_stages.0', 'out_norms.1'),
    ('transformer_stages.1', 'out_norms.2'),
    (*(f'transformer_stages.{i}' for i in (2, 3, 4)), 'mbpool', 'out_norms.3'),
)
LITE_PARTS = (
    ('stem',),
    ('stages.0', 'stages.1', 'out_norms.0'),
    ('stages.2', 'out_norms.1'),
    ('stages.3', 'stages.4', 'out_norms.2'),
    ('stages.5', 'stages.6', 'head_conv', 'out_norms.3'),
)
GLIT_PARTS = (
    ('patch_embed', 'cls_token', 'pos_embed'),
    ('blocks.0', 'out_norms.0'),
    ('blocks.1', 'out_norms.1'),
    ('blocks.2', 'out_norms.2', 'norm'),
)

GLNET_STL = {
    'embed_dims': [32, 32, 64, 64],
    'depths': [1, 1, 2, 1],
    'ffn_ratios': [2, 2, 2, 2],
    'mixers': ['glmix', 'glmix', 'glmix', 'mhsa'],
}
GLNET_4G = {
    **GLNET_STL,
    'mixers': ['glmix', 'glmix', ['glmix', 'mhsa'], 'mhsa'],
    'overlapped_patches': True,
    'pos_encoding': True,
    'conv_ffn': True,
    'layer_scale': 0.1,
}
GLNET_LEARNED = {
    **GLNET_STL,
    'mixers': ['local', 'global', ['mhsa', 'global'], 'glmix'],
    'local_kernels': [3, 5, 7, 5],
    'num_slots': [16, 9, 4, 4],
    'learned_slots': True,
}
GLNET_VARIANTS = {
    **GLNET_STL,
    'mixers': ['window-global', 'local-global', ['global-local', 'mhsa'], 'window-global'],
    'num_slots': [16, 9, 4, 4],
}
ATTENTION_BLOCK = {'num_attn_heads': 3, 'mlp_ratio': 2, 'qkv_ratio': 0.5}
CONV_BLOCK = {'num_attn_heads': 0, 'mlp_ratio': 2, 'conv_ratio': 2, 'kernel_size': 17}
MIXED_BLOCK = {'num_attn_heads': 1, 'mlp_ratio': 3, 'qkv_ratio': 1, 'conv_ratio': 1, 'kernel_size': 5}
GLIT_MIXED = {'embed_dims': 48, 'num_heads': 3, 'blocks': [ATTENTION_BLOCK, CONV_BLOCK, MIXED_BLOCK]}
GLIT_MAP = {**GLIT_MIXED, 'locality': 'conv2d'}
GLIT_WINDOWS = {**GLIT_MIXED, 'locality': 'window'}
GLIT_ATTENTION = {'embed_dims': 48, 'num_heads': 3, 'blocks': [ATTENTION_BLOCK] * 3}
AUTOVIT_3 = {
    'stem_width': 8,
    'conv_widths': [8, 16, 24],
    'conv_depths': [1, 1, 2],
    'embed_dims': [32, 48, 64],
    'depths': [1, 2, 1],
    'num_heads': [1, 2, 3],
    'mlp_ratios': [1.5, 2, 2],
}
AUTOVIT_5 = {
    **AUTOVIT_3,
    'conv_kernels': [5, 3, 5],
    'embed_dims': [32, 32, 48, 48, 64],
    'depths': [1, 1, 1, 1, 1],
    'num_heads': [2, 2, 2, 2, 2],
    'mlp_ratios': [2, 1.5, 2, 1.5, 2],
}
AUTOVIT_TRANSFORMER = {k: v for k, v in AUTOVIT_3.items() if k != 'conv_depths'} | {'transformer_only': True}
LITE = {
    'stem_width': 8,
    'embed_dims': [8, 12, 16, 24, 24, 32, 48],
    'depths': [1, 2, 1, 1, 2, 1, 1],
    'kernel_sizes': [3, [3, 5], 5, 3, [5, 7], 5, 3],
    'expand_ratios': [1, 3, 4, 6, [6, 2.5], 1, 3],
    'head_width': 64,
}
# an old torch computes bfloat16 alone on CPUs
HALF = pytest.param(torch.float16, marks=pytest.mark.torch_since(2, 6), id='torch.float16')


@dataclass(frozen=True)
class Case:
    """A small network of a family, all of its maps as outputs, and what is documented about it."""

    name: str
    backbone: type[HybridBackbone]
    kwargs: Mapping[str, Any]
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    parts: tuple[tuple[str, ...], ...]
    round_size: Callable[[float], int] = math.ceil
    bfloat16_error: float = 0.02

    def build(self, **overrides: Any) -> HybridBackbone:
        torch.manual_seed(0)
        kwargs = {'out_indices': range(len(self.channels)), **self.kwargs, **overrides}
        model = self.backbone(**kwargs)
        model.init_weights()
        return model

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        return [(self.round_size(height / stride), self.round_size(width / stride)) for stride in self.strides]


def glnet_case(name: str, **kwargs: Any) -> Case:
    rounding = math.ceil if kwargs['arch'].get('overlapped_patches') else math.floor
    return Case(name, GLNet, kwargs, (32, 32, 64, 64), (4, 8, 16, 32), GLNET_PARTS, rounding)


def glit_case(name: str, **kwargs: Any) -> Case:
    kwargs |= {'img_size': 64, 'out_type': 'featmap'}
    return Case(name, GLiT, kwargs, (48, 48, 48), (16, 16, 16), GLIT_PARTS)


def autovit_case(name: str, channels: tuple[int, ...], **kwargs: Any) -> Case:
    # some forty roundings of 2 ** -8 one behind the other, with no residual path around them
    return Case(name, AutoViT, kwargs, channels, (4, 8, 16, 32), AUTOVIT_PARTS, bfloat16_error=0.03)


def lite_case(name: str, last: int, **kwargs: Any) -> Case:
    # some thirty roundings of 2 ** -8 one behind the other, and a residual path around few of them
    return Case(name, EfficientNetLite, kwargs, (12, 16, 24, last), (4, 8, 16, 32), LITE_PARTS, bfloat16_error=0.03)


CASES = [
    glnet_case('glnet-stl', arch=GLNET_STL),
    glnet_case('glnet-4g', arch=GLNET_4G, out_norm_cfg={'type': 'LN2d'}),
    glnet_case('glnet-learned', arch=GLNET_LEARNED, out_norm_cfg={'type': 'BN'}),
    glit_case('glit-mixed', arch=GLIT_MIXED),
    glit_case('glit-attention', arch=GLIT_ATTENTION, out_norm_cfg={'type': 'LN2d'}),
    autovit_case('autovit-3', (16, 16, 32, 288), arch=AUTOVIT_3),
    autovit_case('autovit-5', (16, 16, 16, 48), arch=AUTOVIT_5, mbpool=False, out_norm_cfg={'type': 'LN2d'}),
    autovit_case('autovit-transformer', (16, 16, 32, 48), arch=AUTOVIT_TRANSFORMER, mbpool=False),
    glit_case('glit-conv2d', arch=GLIT_MAP),
    glit_case('glit-window', arch=GLIT_WINDOWS),
    glnet_case('glnet-variants', arch=GLNET_VARIANTS),
    lite_case('efficientnet-lite', 64, arch=LITE),
    lite_case('efficientnet-lite-dense', 48, arch=LITE, head_conv=False, out_norm_cfg={'type': 'LN2d'}),
]
each_case = pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
ONE_OF_EACH = [CASES[1], CASES[3], CASES[6], CASES[-1]]
one_of_each = pytest.mark.parametrize('case', ONE_OF_EACH, ids=lambda case: case.name)

# documented channels of the outputs (GLiT: of the last)
PRESET_CHANNELS = {
    (GLNet, 'stl'): (96, 192, 384, 768),
    (GLNet, 'stl-paramslot'): (96, 192, 384, 768),
    (GLNet, '4g'): (64, 128, 256, 512),
    (GLNet, '9g'): (96, 192, 384, 768),
    (GLNet, '16g'): (128, 256, 512, 1024),
    (GLiT, 'tiny'): (192,),
    (GLiT, 'small'): (384,),
    (GLiT, 'base'): (768,),
    (AutoViT, 'xxs'): (32, 32, 48, 480),
    (AutoViT, 'xs'): (48, 64, 80, 672),
    (AutoViT, 's'): (48, 96, 128, 1152),
    (EfficientNetLite, 'lite0'): (24, 40, 112, 1280),
    (EfficientNetLite, 'lite1'): (24, 40, 112, 1280),
    (EfficientNetLite, 'lite2'): (24, 48, 120, 1280),
    (EfficientNetLite, 'lite3'): (32, 48, 136, 1280),
    (EfficientNetLite, 'lite4'): (32, 56, 160, 1280),
}
PRESETS = {
    GLNet: GLNetArch.presets,
    GLiT: GLiTArch.presets,
    AutoViT: AutoViTArch.presets,
    EfficientNetLite: EfficientNetLiteArch.presets,
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    MMLogger.get_current_instance().setLevel('WARNING')


def image(batch: int = 2, height: int = 64, width: int = 64) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def backward(outputs: tuple[Tensor, ...]) -> None:
    """A random loss: the plain sum of a normed map has no gradient."""
    generator = torch.Generator().manual_seed(2)
    loss = sum((output * torch.randn(output.shape, generator=generator)).sum() for output in outputs)
    loss.backward()


def step(model: nn.Module, x: Tensor) -> tuple[tuple[Tensor, ...], dict[str, Tensor | None]]:
    outputs = model(x)
    backward(outputs)
    return outputs, {name: parameter.grad for name, parameter in model.named_parameters()}


def belongs(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f'{prefix}.') for prefix in prefixes)


def leaves(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in model.named_modules() if not list(module.children()))


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual.float() - expected).norm() / expected.norm())


@each_case
@pytest.mark.parametrize('size', [(64, 64), (32, 32), (33, 47), (96, 50), (65, 129)], ids=str)
def test_outputs_have_the_documented_shapes(case: Case, size: tuple[int, int]) -> None:
    model = case.build().eval()
    with torch.no_grad():
        outputs = model(image(1, *size))
    assert isinstance(outputs, tuple)
    expected = [(1, c, *hw) for c, hw in zip(case.channels, case.sizes(*size), strict=True)]
    assert [tuple(output.shape) for output in outputs] == expected
    assert all(output.isfinite().all() for output in outputs)


@pytest.mark.parametrize(('family', 'preset'), PRESET_CHANNELS, ids=str)
def test_presets_have_the_documented_shapes(family: type[HybridBackbone], preset: str) -> None:
    channels = PRESET_CHANNELS[family, preset]
    is_plain = family is GLiT
    kwargs = {'out_type': 'featmap'} if is_plain else {'out_indices': range(4)}
    with on_meta():
        outputs = family(arch=preset, **kwargs)(torch.empty(2, 3, 96, 64))
    strides = (16,) if is_plain else (4, 8, 16, 32)
    assert [tuple(output.shape) for output in outputs] == [
        (2, c, 96 // stride, 64 // stride) for c, stride in zip(channels, strides, strict=True)
    ]


def test_all_presets_are_documented() -> None:
    assert set(PRESET_CHANNELS) == {(family, preset) for family, presets in PRESETS.items() for preset in presets}


@pytest.mark.parametrize(
    ('out_type', 'shape'),
    [('raw', (2, 25, 48)), ('cls_token', (2, 48)), ('featmap', (2, 48, 4, 6)), ('avg_featmap', (2, 48))],
)
def test_glit_out_types(out_type: str, shape: tuple[int, ...]) -> None:
    model = GLiT(GLIT_MIXED, img_size=64, out_type=out_type).eval()
    (output,) = model(image(2, 64, 96))
    assert tuple(output.shape) == shape


@each_case
@pytest.mark.parametrize('batch', [1, 2])
def test_training_gives_every_parameter_a_gradient(case: Case, batch: int) -> None:
    outputs, grads = step(case.build(drop_path_rate=0.0).train(), image(batch))
    assert all(output.isfinite().all() for output in outputs)
    assert [name for name, grad in grads.items() if grad is None] == []
    assert [name for name, grad in grads.items() if not grad.isfinite().all() or not grad.any()] == []


@each_case
@pytest.mark.parametrize('drop_path_rate', [0.0, 0.5])
def test_checkpointing_changes_nothing(case: Case, drop_path_rate: float) -> None:
    plain = case.build(drop_path_rate=drop_path_rate).train()
    checkpointed = case.build(drop_path_rate=drop_path_rate, with_cp=True).train()
    results = []
    for model in (plain, checkpointed):
        torch.manual_seed(3)
        results.append(step(model, image(4)))
    (outputs, grads), (cp_outputs, cp_grads) = results
    torch.testing.assert_close(cp_outputs, outputs, rtol=0, atol=0)
    torch.testing.assert_close(cp_grads, grads)
    assert_contiguous(cp_outputs)
    torch.testing.assert_close(dict(checkpointed.named_buffers()), dict(plain.named_buffers()), rtol=0, atol=0)


@each_case
def test_checkpointing_keeps_fewer_activations(case: Case) -> None:
    def kept(model: nn.Module) -> int:
        tensors: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: tensors.append(t) or t, lambda t: t):
            model(image())
        return len(tensors)

    if case.name == 'autovit-transformer' and TORCH < (2, 13):
        pytest.skip('torch 2.6 and 2.8 keep more tensors in so small a network: 131 of 261')
    assert kept(case.build(with_cp=True).train()) < kept(case.build().train()) / 2


@each_case
def test_frozen_parts(case: Case) -> None:
    for level in range(-1, len(case.parts)):
        frozen = tuple(prefix for part in case.parts[: level + 1] for prefix in part)
        model = case.build(frozen_stages=level)
        assert model.train() is model
        for name, module in leaves(model):
            assert module.training != belongs(name, frozen), (level, name)
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad != belongs(name, frozen), (level, name)
    assert not any(parameter.requires_grad for parameter in model.parameters())


@each_case
def test_a_step_leaves_frozen_parts_alone(case: Case) -> None:
    model = case.build(frozen_stages=1).train()
    frozen = case.parts[0] + case.parts[1]
    before = copy.deepcopy(model.state_dict())
    _, grads = step(model, image())
    assert {name for name, grad in grads.items() if grad is None} == {n for n in grads if belongs(n, frozen)}
    for name, value in model.state_dict().items():
        if belongs(name, frozen):
            torch.testing.assert_close(value, before[name], rtol=0, atol=0)


@each_case
def test_norm_eval(case: Case) -> None:
    model = case.build(norm_eval=True).train()
    for name, module in leaves(model):
        assert module.training != isinstance(module, _BatchNorm), name


@each_case
def test_modes_return_the_model(case: Case) -> None:
    model = case.build()
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    assert model.train() is model
    assert all(module.training for module in model.modules())


@each_case
def test_strict_save_and_load(case: Case, tmp_path) -> None:
    model = case.build().train()
    step(model, image())  # statistics of the norms too
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    other = case.build()
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    result = other.load_state_dict(torch.load(tmp_path / 'model.pth', weights_only=True), strict=True)
    assert not result.missing_keys
    assert not result.unexpected_keys
    torch.testing.assert_close(other.eval()(image()), model.eval()(image()), rtol=0, atol=0)


@one_of_each
def test_strict_loading_reports_differences(case: Case) -> None:
    state = case.build().state_dict()
    with pytest.raises(RuntimeError, match='Unexpected'):
        case.build().load_state_dict({**state, 'surplus.weight': torch.zeros(1)})
    state.pop(next(name for name in state if not belongs(name, ('norm', 'out_norms', 'mbpool', 'head_conv'))))
    with pytest.raises(RuntimeError, match='Missing'):
        case.build().load_state_dict(state)


@pytest.mark.parametrize('out_norm_cfg', [None, {'type': 'LN2d'}], ids=['norm', 'out_norms'])
def test_strict_loading_reports_damaged_output_layers(out_norm_cfg: dict[str, Any] | None) -> None:
    model = CASES[0].build(out_indices=(2, 3), out_norm_cfg=out_norm_cfg)
    state = model.state_dict()
    state.pop(next(name for name in state if belongs(name, ('norm', 'out_norms'))))
    with pytest.raises(RuntimeError, match='Missing'):
        model.load_state_dict(state)


@pytest.mark.parametrize('argument', ['norm_cfg', 'out_norm_cfg'])
def test_norms_need_a_type(argument: str) -> None:
    assert_refused(lambda: CASES[0].build(**{argument: {'eps': 1.0}}), 'norm_cfg', {'eps': 1.0})


@each_case
def test_copies_are_independent(case: Case) -> None:
    model = case.build().eval()
    twin = copy.deepcopy(model)
    twin.load_state_dict({name: torch.zeros_like(value) for name, value in twin.state_dict().items()})
    torch.testing.assert_close(model(image()), case.build().eval()(image()))


@pytest.mark.parametrize('case', [CASES[0], CASES[3], CASES[5], CASES[-2]], ids=lambda case: case.name)
def test_checkpoints_pass_between_classification_and_dense_prediction(case: Case) -> None:
    plain = {layer: False for layer in case.backbone.output_layers if layer not in HybridBackbone.output_layers}
    classifier = case.build(out_indices=(-1,), out_norm_cfg=None)
    dense = case.build(out_norm_cfg={'type': 'LN2d'}, **plain)
    for source, target in ((classifier, dense), (dense, classifier)):
        for parameter in target.parameters():
            nn.init.normal_(parameter)
        before = copy.deepcopy(target.state_dict())
        target.load_state_dict(source.state_dict(), strict=True)
        for name, value in target.state_dict().items():
            expected = before if belongs(name, case.backbone.output_layers) else source.state_dict()
            torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


@pytest.mark.parametrize(('from_size', 'to_size'), [(64, 96), (96, 64), (64, 64)])
def test_glit_position_embedding_is_resized_on_load(from_size: int, to_size: int) -> None:
    source = GLiT(GLIT_MIXED, img_size=from_size)
    source.init_weights()
    target = GLiT(GLIT_MIXED, img_size=to_size)
    target.load_state_dict(source.state_dict(), strict=True)
    assert target.pos_embed.shape == (1, 1 + (to_size // 16) ** 2, 48)
    assert source.pos_embed.shape == (1, 1 + (from_size // 16) ** 2, 48)
    # interpolated once on load or in each forward pass: the same network at its new size
    x = image(2, to_size, to_size)
    torch.testing.assert_close(target.eval()(x), source.eval()(x))


@one_of_each
@pytest.mark.parametrize('rate', [0.0, 0.3])
def test_drop_path_grows_linearly_over_the_global_depth(case: Case, rate: float) -> None:
    model = case.build(drop_path_rate=rate)
    rates = [module.drop_prob for module in model.modules() if isinstance(module, DropPath)]
    arch = case.kwargs['arch']
    assert len(rates) == (len(arch['blocks']) if 'blocks' in arch else sum(arch['depths']))
    np.testing.assert_allclose(rates, np.linspace(0, rate, len(rates)))


@each_case
@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_layer_depth_follows_the_order_of_computation(case: Case, prefix: str) -> None:
    model = case.build().eval()
    depths = {name: model.get_layer_depth(prefix + name, prefix) for name, _ in model.named_parameters()}
    (num_layers,) = {total for _, total in depths.values()}
    last = num_layers - 1
    assert model.get_layer_depth('head.fc.weight', prefix='backbone.') == (last, num_layers)
    assert {depth for depth, _ in depths.values()} >= set(range(last))

    order: list[int] = []
    for name, module in model.named_modules():
        own = [f'{name}.{p}'.lstrip('.') for p, _ in module.named_parameters(recurse=False)]
        if belongs(name, ('norm', 'out_norms')):
            assert {depths[p][0] for p in own} <= {last}
        elif own:
            module.register_forward_pre_hook(lambda *_, own=own: order.extend(depths[p][0] for p in own))
    model(image())
    assert order == sorted(order)
    assert order[0] == 0


@pytest.fixture(scope='module')
def _quiet_exporter() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield


@pytest.mark.torch_since(*EXPORTING)
@pytest.mark.parametrize(
    ('case', 'size'),
    [*((case, (49, 70)) for case in CASES), *((case, (64, 64)) for case in ONE_OF_EACH)],
    ids=lambda value: getattr(value, 'name', str(value)),
)
@pytest.mark.usefixtures('_quiet_exporter')
def test_torch_export_and_onnx(case: Case, size: tuple[int, int], tmp_path) -> None:
    model, x = case.build().eval(), image(1, *size)
    with torch.no_grad():
        expected = model(x)
        program = torch.export.export(model, (x,))
        torch.testing.assert_close(program.module()(x), expected)
        torch.onnx.export(program, (), tmp_path / 'model.onnx', verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / 'model.onnx', providers=['CPUExecutionProvider'])
    outputs = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert len(outputs) == len(expected)
    for output, reference in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output, reference.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.torch_since(2, 6)
@pytest.mark.parametrize(
    ('case', 'with_cp'),
    [
        *((case, False) for case in CASES),
        # torch 2.6 and 2.8 count the batch of a batch norm again when they compute the layer again
        pytest.param(CASES[3], True, marks=pytest.mark.torch_since(2, 13)),
    ],
    ids=lambda value: getattr(value, 'name', str(value)),
)
def test_torch_compile(case: Case, with_cp: bool) -> None:
    torch._dynamo.reset()
    # in float64: the gradient of a bias in front of a batch norm is zero but for rounding, which compiling may change
    model, plain = case.build(with_cp=with_cp).train().double(), case.build().train().double()
    x, images = (image().double().requires_grad_() for _ in range(2))
    expected, expected_grads = step(plain, x)
    outputs = torch.compile(model, fullgraph=True, backend='aot_eager')(images)
    assert_contiguous(outputs)
    backward(outputs)
    assert_contiguous([images.grad])
    grads = {name: parameter.grad for name, parameter in model.named_parameters()}
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        {**grads, 'images': images.grad}, {**expected_grads, 'images': x.grad}, rtol=1e-3, atol=1e-4
    )
    torch.testing.assert_close(dict(model.named_buffers()), dict(plain.named_buffers()))


@each_case
def test_channels_last_gives_the_same_numbers(case: Case) -> None:
    model = case.build().eval()
    with torch.no_grad():
        expected = model(image(2, 64, 96))
        model.to(memory_format=torch.channels_last)
        outputs = model(image(2, 64, 96).to(memory_format=torch.channels_last))
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-5)


def subsets(num_outputs: int) -> list[tuple[int, ...]]:
    return [*((index,) for index in range(num_outputs)), tuple(range(num_outputs))]


@each_case
@pytest.mark.parametrize('out_norm_cfg', [None, {'type': 'LN2d'}, {'type': 'BN'}], ids=['none', 'LN2d', 'BN'])
def test_outputs_are_contiguous(case: Case, out_norm_cfg: dict[str, Any] | None) -> None:
    for out_indices in subsets(len(case.channels)):
        model = case.build(out_indices=out_indices, out_norm_cfg=out_norm_cfg)
        for training in (True, False):
            assert_contiguous(model.train(training)(image()))
        with torch.no_grad():
            assert_contiguous(model(image(1, 65, 97)))
            assert_contiguous(model(image(3, 32, 32)))


@each_case
def test_outputs_are_contiguous_whatever_the_inputs_are(case: Case) -> None:
    model = case.build().eval()
    last = image().to(memory_format=torch.channels_last)
    wide = image(2, 64, 128)
    turned = image(2, 64, 96).transpose(2, 3)
    with torch.no_grad():
        for x in (
            last,
            wide[..., ::2],
            wide[..., 32:96],
            turned,
            turned.expand(2, -1, -1, -1)[:1].expand(2, -1, -1, -1),
        ):
            assert_contiguous(model(x))
        model.to(memory_format=torch.channels_last)
        for x in (image(), last):
            assert_contiguous(model(x))


@each_case
@pytest.mark.parametrize('with_cp', [False, True], ids=['kept', 'recomputed'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_gradients_are_contiguous(case: Case, with_cp: bool, dtype: torch.dtype) -> None:
    """Those of the weights, and the one that a layer in front of the backbone is handed."""
    model = case.build(with_cp=with_cp).train()
    handed: list[Tensor] = []
    with torch.autocast('cpu', torch.bfloat16, enabled=dtype is torch.bfloat16):
        outputs = model(GradientProbe.apply(image().requires_grad_(), handed))
    assert_contiguous(outputs)
    backward(outputs)
    assert len(handed) == 1
    assert_contiguous(handed)
    assert_contiguous([parameter.grad for parameter in model.parameters()])


@one_of_each
def test_gradients_of_images_by_function_transforms(case: Case) -> None:
    model, x = case.build().eval().double(), image().double()

    def loss_of(x: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(2)
        return sum((out * torch.randn(out.shape, generator=generator)).sum() for out in model(x))

    (expected,) = torch.autograd.grad(loss_of(leaf := x.clone().requires_grad_()), leaf)
    found = torch.func.grad(loss_of)(x)
    assert_contiguous([found])
    torch.testing.assert_close(found, expected)


@each_case
def test_averaged_copies_of_channels_last_weights_return_contiguous_outputs(case: Case) -> None:
    model, plain = case.build().double().to(memory_format=torch.channels_last), case.build().double()
    averages = [ExponentialMovingAverage(network, momentum=0.25, update_buffers=True) for network in (model, plain)]
    for network, average in zip((model, plain), averages, strict=True):
        average.update_parameters(network)  # the first update copies
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1.5)
        average.update_parameters(network)
    ours, theirs = (average.module.eval() for average in averages)
    for (name, parameter), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(parameter, other, msg=name)
    with torch.no_grad():
        outputs = ours(image().double())
        assert_contiguous(outputs)
        torch.testing.assert_close(outputs, theirs(image().double()))


@pytest.mark.slow
@one_of_each
def test_compiled_code_returns_contiguous_outputs(case: Case) -> None:
    """Inductor lays out what is inside of a graph as it likes."""
    torch._dynamo.reset()
    model, x = case.build().eval(), image()
    with torch.no_grad():
        expected = model(x)
        outputs = torch.compile(model, fullgraph=True)(x)
        assert_contiguous(outputs)
        torch.testing.assert_close(outputs, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('arch', [GLIT_MIXED, GLIT_MAP, GLIT_WINDOWS], ids=['conv1d', 'conv2d', 'window'])
def test_glit_out_types_are_contiguous(arch: dict[str, Any]) -> None:
    out_types = ('raw', 'featmap', 'avg_featmap', *(() if arch is GLIT_MAP else ('cls_token',)))
    for out_type in out_types:
        for out_indices in subsets(3):
            model = GLiT(arch, img_size=64, out_type=out_type, out_indices=out_indices)
            assert_contiguous(model(image(2, 64, 96)))


@pytest.mark.parametrize('dtype', [HALF, torch.bfloat16], ids=str)
@each_case
def test_autocast_stays_close_to_float32(case: Case, dtype: torch.dtype) -> None:
    assert_autocast_close(case.build().eval(), dtype, case.bfloat16_error if dtype is torch.bfloat16 else 0.02)


@pytest.mark.parametrize('dtype', [HALF, torch.bfloat16], ids=str)
@pytest.mark.parametrize('preset', ['stl', '4g'])
def test_autocast_of_glnet_presets(preset: str, dtype: torch.dtype) -> None:
    model = GLNet(preset, out_indices=range(4))
    model.init_weights()
    assert_autocast_close(model.eval(), dtype)


def assert_autocast_close(model: nn.Module, dtype: torch.dtype, tolerance: float = 0.02) -> None:
    with torch.no_grad():
        expected = model(image())
        with torch.autocast('cpu', dtype):
            outputs = model(image())
            blank = model(torch.zeros(1, 3, 64, 64))
    assert all(output.isfinite().all() for output in (*outputs, *blank))
    assert_contiguous(outputs)
    assert max(relative_error(*pair) for pair in zip(outputs, expected, strict=True)) < tolerance


@pytest.mark.parametrize('dtype', [HALF, torch.bfloat16], ids=str)
@pytest.mark.parametrize('magnitude', [1e-3, 1.0, 1e3])
def test_cosine_clustering_does_not_depend_on_the_magnitude(magnitude: float, dtype: torch.dtype) -> None:
    module = SlotAttention(64, 16)
    x = magnitude * torch.randn(2, 64, 12, 12)
    with torch.no_grad():
        expected = module(x, module.initial_slots(x))
        with torch.autocast('cpu', dtype):
            # as behind a convolution or a norm under autocast
            output = module(x.to(dtype), module.initial_slots(x.to(dtype)))
    assert output.isfinite().all()
    assert relative_error(output, expected) < 0.02


@one_of_each
@pytest.mark.parametrize(
    ('out_indices', 'value'),
    [
        ([], '[]'),
        ([99], '99'),
        ([-99], '-99'),
        ([0, 0], '[0, 0]'),
        ([0, -1, -1], '-1'),
        (['0'], "'0'"),
        ([1.0], '1.0'),
        ([True], 'True'),
        (None, 'None'),
        ('01', "'01'"),
    ],
    ids=str,
)
def test_bad_out_indices(case: Case, out_indices: Any, value: str) -> None:
    with pytest.raises(ValueError, match=f'out_indices: got .*{re.escape(value)}.*allowed: '):
        case.build(out_indices=out_indices)


@each_case
def test_out_indices_are_a_set_of_positions(case: Case) -> None:
    model, all_outputs = case.build().eval(), case.build().eval()(image())
    last = len(all_outputs) - 1
    partial = case.build(out_indices=(-1, 0)).eval()
    assert partial.out_indices == (0, last)
    result = partial.load_state_dict(model.state_dict(), strict=True)
    assert not result.missing_keys
    torch.testing.assert_close(partial(image()), (all_outputs[0], all_outputs[last]))


@one_of_each
@pytest.mark.parametrize(
    ('argument', 'value'),
    [
        *(('frozen_stages', value) for value in (-2, 5, 1.0, '1', True)),
        *(('drop_path_rate', value) for value in (-0.1, 1.5, float('nan'), '0', None)),
        *(('in_channels', value) for value in (0, 3.0, '3')),
        *(('norm_eval', value) for value in (1, 'yes')),
        *(('with_cp', value) for value in (None, 0)),
    ],
    ids=str,
)
def test_bad_arguments(case: Case, argument: str, value: Any) -> None:
    assert_refused(lambda: case.build(**{argument: value}), argument, value)


@pytest.mark.parametrize(
    ('argument', 'value'),
    [
        ('img_size', 8),
        ('img_size', 64.0),
        ('patch_size', 0),
        ('out_type', 'map'),
        ('out_type', None),
        ('out_norm_cfg', {'type': 'BN'}),
    ],
    ids=str,
)
def test_bad_glit_arguments(argument: str, value: Any) -> None:
    kwargs = {'img_size': 64, argument: value}
    assert_refused(lambda: GLiT(GLIT_MIXED, **kwargs), argument, value)


def assert_refused(build: Callable[[], Any], name: str, value: Any) -> None:
    """ValueError with the field, the value and what is allowed."""
    with pytest.raises(ValueError, match=r'allowed: .') as error:
        build()
    message = str(error.value)
    assert re.match(rf'[\w .\[\]]*\b{re.escape(name)}(\[\d\])?: got ', message), message
    assert repr(value) in message


@pytest.mark.parametrize('family', PRESETS, ids=lambda family: family.__name__)
@pytest.mark.parametrize('arch', ['', 'huge', None, 4, ['embed_dims']], ids=str)
def test_unknown_presets(family: type[HybridBackbone], arch: Any) -> None:
    assert_refused(lambda: family(arch=arch), 'arch', arch)
    with pytest.raises(ValueError, match=str(sorted(PRESETS[family])[0])):
        family(arch=arch)


# value by value, what a field refuses: wrong types for all, then its own range
NOT_AN_INT = (None, 'x', 1.5, True, 0, -1)
NOT_A_RATIO = (None, 'x', True, 0, -1, float('nan'), float('inf'), 1e-6)
NOT_A_FLAG = (None, 'x', 1)
NOT_A_LIST = (None, 3, 'abcd')
BAD_ELEMENTS = {
    GLNet: {
        'embed_dims': (*NOT_AN_INT, 16, 33),
        'depths': NOT_AN_INT,
        'ffn_ratios': NOT_A_RATIO,
        'mixers': ('conv', None, 1, ['glmix', 'glmix']),
        'local_kernels': (*NOT_AN_INT, 4),
        'num_slots': (*NOT_AN_INT, 8),
    },
    AutoViT: {
        'conv_widths': NOT_AN_INT,
        'conv_depths': NOT_AN_INT,
        'conv_kernels': (*NOT_AN_INT, 2),
        'embed_dims': NOT_AN_INT,
        'depths': NOT_AN_INT,
        'num_heads': NOT_AN_INT,
        'mlp_ratios': NOT_A_RATIO,
    },
    EfficientNetLite: {
        'embed_dims': NOT_AN_INT,
        'depths': (*NOT_AN_INT, 10**9),
        'kernel_sizes': (*NOT_AN_INT, 4),
        'expand_ratios': NOT_A_RATIO,
    },
}
BAD_VALUES = {
    GLNet: {
        **dict.fromkeys(('learned_slots', 'overlapped_patches', 'pos_encoding', 'conv_ffn'), NOT_A_FLAG),
        **{name: (*NOT_A_LIST, [], [1] * 3, [1] * 5) for name in BAD_ELEMENTS[GLNet]},
        'layer_scale': ('x', True, 0, -1.0, float('inf')),
    },
    GLiT: {
        'embed_dims': (*NOT_AN_INT, 49),
        'num_heads': NOT_AN_INT,
        'blocks': (*NOT_A_LIST, []),
        'locality': (None, 1, 'conv3d'),
    },
    AutoViT: {
        'stem_width': NOT_AN_INT,
        'transformer_only': NOT_A_FLAG,
        **{name: (*NOT_A_LIST, [], [1] * 2, [1] * 6) for name in BAD_ELEMENTS[AutoViT]},
    },
    EfficientNetLite: {
        'stem_width': NOT_AN_INT,
        'head_width': NOT_AN_INT,
        **{name: (*NOT_A_LIST, [], [1] * 6, [1] * 8) for name in BAD_ELEMENTS[EfficientNetLite]},
    },
}
BAD_BLOCKS = [
    *(({**MIXED_BLOCK, 'num_attn_heads': value}, 'num_attn_heads', value) for value in (None, 'x', 1.5, True, -1, 4)),
    *(
        ({**MIXED_BLOCK, name: value}, name, value)
        for name in ('mlp_ratio', 'qkv_ratio', 'conv_ratio')
        for value in NOT_A_RATIO
    ),
    *(({**MIXED_BLOCK, 'kernel_size': value}, 'kernel_size', value) for value in (*NOT_AN_INT, 4)),
    *((value, 'blocks', value) for value in (None, 'x', 1, [])),
]
VALID_ARCHS = {GLNet: GLNET_LEARNED, GLiT: GLIT_MIXED, AutoViT: AUTOVIT_5, EfficientNetLite: LITE}


def bad_values() -> Iterator[tuple[type[HybridBackbone], dict[str, Any], str, Any]]:
    for family, fields in BAD_VALUES.items():
        for name, values in fields.items():
            yield from ((family, {name: value}, name, value) for value in values)
    for family, fields in BAD_ELEMENTS.items():
        for name, values in fields.items():
            valid = VALID_ARCHS[family][name]
            yield from ((family, {name: [*valid[:-1], value]}, name, value) for value in values)


@pytest.mark.parametrize('family', VALID_ARCHS, ids=lambda family: family.__name__)
def test_bad_archs(family: type[HybridBackbone]) -> None:
    refused = [row for row in bad_values() if row[0] is family]
    assert refused
    for _, change, name, value in refused:
        assert_refused(lambda change=change: family(arch={**VALID_ARCHS[family], **change}), name, value)


@pytest.mark.parametrize(('block', 'name', 'value'), BAD_BLOCKS, ids=str)
def test_bad_glit_blocks(block: Any, name: str, value: Any) -> None:
    assert_refused(lambda: GLiT({**GLIT_MIXED, 'blocks': [MIXED_BLOCK, block]}), name, value)


@pytest.mark.parametrize('family', VALID_ARCHS, ids=lambda family: family.__name__)
def test_missing_and_surplus_keys(family: type[HybridBackbone]) -> None:
    valid = VALID_ARCHS[family]
    with pytest.raises(ValueError, match=r'arch: surplus widths; required: .*embed_dims'):
        family(arch={**valid, 'widths': 3})
    for name in valid.keys() - {'local_kernels', 'num_slots', 'learned_slots', 'conv_kernels'}:
        with pytest.raises(ValueError, match=f'arch: missing {name}; required: .*{name}'):
            family(arch={key: value for key, value in valid.items() if key != name})


def test_glit_blocks_name_what_their_heads_need() -> None:
    for block, problem in (
        ({**ATTENTION_BLOCK, 'kernel_size': 3}, 'surplus kernel_size'),
        ({**CONV_BLOCK, 'qkv_ratio': 1}, 'surplus qkv_ratio'),
        ({**CONV_BLOCK, 'num_attn_heads': 1}, 'missing qkv_ratio'),
        ({**ATTENTION_BLOCK, 'num_attn_heads': 2}, 'missing conv_ratio, kernel_size'),
        ({'num_attn_heads': 3}, 'missing mlp_ratio'),
        ({**MIXED_BLOCK, 'stride': 1}, 'surplus stride'),
    ):
        with pytest.raises(ValueError, match=rf'blocks\[0\].*{problem}; required: '):
            GLiT({**GLIT_MIXED, 'blocks': [block]})


def test_transformer_only_autovit_has_nothing_to_say_about_mbconv() -> None:
    for name, value in (('conv_depths', [1, 1, 1]), ('conv_kernels', [3, 3, 3])):
        with pytest.raises(ValueError, match=f'surplus {name}'):
            AutoViT({**AUTOVIT_TRANSFORMER, name: value})


@one_of_each
@pytest.mark.parametrize(
    'host',
    ['mmpretrain', pytest.param('mmdet', marks=pytest.mark.dense), pytest.param('mmseg', marks=pytest.mark.dense)],
)
def test_hosts_build_it(case: Case, host: str) -> None:
    import_modules_from_strings(imports=['mmhybrid'])
    registry = importlib.import_module(f'{host}.registry').MODELS
    model = registry.build({'type': f'mmhybrid.{case.backbone.__name__}', **case.kwargs})
    assert isinstance(model, case.backbone)
