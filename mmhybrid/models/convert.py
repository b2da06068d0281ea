"""Released GLNet and GLiT checkpoints under our names.

A family is data: a tensor only its checkpoints have, rules from released to our names, our backbone. GLNet's
architecture is read from the tensors, GLiT's is the preset whose names and shapes are the checkpoint's.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mmhybrid.models.backbones import glit, glnet
from mmhybrid.models.build import on_meta
from mmhybrid.models.checkpoints import write_checkpoint
from mmhybrid.models.released import read_released
from mmhybrid.models.released_glnet import read_arch
from mmhybrid.utils.checks import bad_value, check_choice

Shape = tuple[int, ...]
Rules = tuple[tuple[re.Pattern[str], str], ...]
Arch = str | dict[str, Any]
IMAGENET_CLASSES = 1000


def _rules(renamed: Mapping[str, str], released: str = '', ours: str = '') -> Rules:
    """Rules that replace the beginning of a name; ``released`` is a pattern and ``ours`` its replacement."""
    return tuple((re.compile(released + re.escape(old)), ours + new) for old, new in renamed.items())


_GLNET_RULES = (
    *_rules(
        {
            'downsample_layers.': 'backbone.downsamplers.',
            'norm.': 'backbone.norm.',
            'head.': 'head.fc.',
            'tklb_aux_head.': 'head.aux_fc.',
        }
    ),
    *_rules(
        {
            'pos_conv.': 'pos_conv.',
            'norm1.': 'norm1.',
            'norm2.': 'norm2.',
            'slot_scale': 'mixer.slots.scale',
            'init_slots': 'mixer.slots.init_slots',
            'relation_mha.in_proj_': 'mixer.slots.attention.qkv.',
            'relation_mha.out_proj.': 'mixer.slots.attention.proj.',
            'feature_conv.0.': 'mixer.local.conv1.',
            'feature_conv.1.': 'mixer.local.dwconv.',
            'feature_conv.2.': 'mixer.local.conv2.',
            'mha_op.in_proj_': 'mixer.qkv.',
            'mha_op.out_proj.': 'mixer.proj.',
            'mlp.0.': 'ffn.conv1.',
            'mlp.1.': 'ffn.dwconv.',
            'mlp.2.': 'ffn.conv2.',
            'mlp.3.': 'ffn.conv2.',
            'ls1.': 'scale1.',
            'ls2.': 'scale2.',
        },
        r'stages\.(\d+)\.blocks\.(\d+)\.',
        r'backbone.stages.\1.\2.',
    ),
)
_PATCH_RULES = (
    *_rules({'0.0.': '0.patch.', '0.1.': '0.patch_norm.'}, r'downsample_layers\.', 'backbone.downsamplers.'),
    *_rules({'0.': 'patch_norm.', '1.': 'patch.'}, r'downsample_layers\.([1-3])\.', r'backbone.downsamplers.\1.'),
)
_OVERLAPPED_STEM_RULES = _rules(  # the released one begins with an identity
    {'1.': '0.', '2.': '1.', '4.': '3.', '5.': '4.'}, r'downsample_layers\.0\.', 'backbone.downsamplers.0.'
)
_GLIT_RULES = (
    *_rules(
        {
            'cls_token': 'backbone.cls_token',
            'pos_embed': 'backbone.pos_embed',
            'patch_embed.proj.': 'backbone.patch_embed.',
            'norm.': 'backbone.norm.',
            'head.': 'head.layers.head.',
        }
    ),
    *_rules(
        {
            'norm1.': 'norm1.',
            'norm2.': 'norm2.',
            'attn.qkv.': 'mixer.attention.qkv.',
            'attn.proj.': 'mixer.attention.proj.',
            'attn.net.1.': 'mixer.conv.expand.',
            'attn.net.3.conv.': 'mixer.conv.dwconv.',
            'attn.net.4.': 'mixer.conv.norm.',
            'attn.net.6.': 'mixer.conv.reduce.',
            'mlp.': 'ffn.',
        },
        r'blocks\.(\d+)\.0\.',
        r'backbone.blocks.\1.',
    ),
)


@dataclass(frozen=True)
class Family:
    """How a family's released checkpoints are recognised and renamed.

    Args:
        marker: A tensor that they have and no other family's.
        rules: Beginnings of released names and what they become; the first that matches counts.
        backbone: Our class, which takes ``arch``.
        presets: The architectures to choose from.
        read_arch: Reads an architecture beyond the presets, see :func:`mmhybrid.models.released_glnet.read_arch`.
    """

    marker: str
    rules: Rules
    backbone: type[glnet.GLNet] | type[glit.GLiT]
    presets: Mapping[str, Mapping[str, Any]]
    read_arch: Callable[[Mapping[str, Tensor], int | None, int | None], Arch] | None = None


FAMILIES = (
    Family(
        'downsample_layers.0.4.weight', _OVERLAPPED_STEM_RULES + _GLNET_RULES, glnet.GLNet, glnet.PRESETS, read_arch
    ),
    Family('downsample_layers.0.0.weight', _PATCH_RULES + _GLNET_RULES, glnet.GLNet, glnet.PRESETS, read_arch),
    Family('blocks.0.0.norm1.weight', _GLIT_RULES, glit.GLiT, glit.PRESETS),
)


@dataclass(frozen=True)
class _Fit:
    """A checkpoint against an architecture: our names to released ones, and what has no counterpart."""

    arch: Arch
    expected: dict[str, Shape]
    sources: dict[str, str]
    missing: dict[str, Shape]
    surplus: dict[str, Shape]


def convert_file(
    source: Path,
    target: Path,
    key: str | None = None,
    arch: str | None = None,
    num_slots: int | None = None,
    head_dim: int | None = None,
) -> dict[str, Any]:
    """Convert the released file ``source`` and write ``target``, whole or not at all.

    Args:
        source: As :func:`mmhybrid.models.released.read_released` takes it, with ``key``.
        target: Loadable with ``weights_only=True``.
        key: Where the state dict is in the file.
        arch: As for :func:`convert`.
        num_slots: As for :func:`convert`.
        head_dim: As for :func:`convert`.

    Returns:
        ``meta`` of :func:`convert`.

    Raises:
        ValueError: As these two do.
        OSError: If a file cannot be read or written.
    """
    checkpoint = convert(read_released(source, key), arch, num_slots, head_dim)
    meta: dict[str, Any] = checkpoint['meta']
    write_checkpoint(target, checkpoint)
    return meta


def convert(
    released: Mapping[str, Tensor], arch: str | None = None, num_slots: int | None = None, head_dim: int | None = None
) -> dict[str, Any]:
    """A released state dict as a checkpoint of an mmpretrain classifier.

    Args:
        released: As :func:`mmhybrid.models.released.read_released` returns it.
        arch: The preset that it is. For GLNet this, or the following, has to be said: tensors do not tell it.
        num_slots: GLNet: how many slots are pooled.
        head_dim: GLNet: channels of a head.

    Returns:
        ``state_dict`` with ``backbone.*`` and ``head.*``, and ``meta`` with the ``backbone`` config it fits.

    Raises:
        ValueError: If no family has these names, what the tensors do not tell is not said, the released class has an
            option that our backbone lacks, or a tensor is missing, is left over, or has another shape than in the
            architecture, of GLiT the nearest preset; the first of each are named.
    """
    family = next((family for family in FAMILIES if family.marker in released), None)
    if family is None:
        raise ValueError(f'checkpoint: neither GLNet nor GLiT as released; it begins with {_first(_shapes(released))}')
    fit = _best_fit(family, released, arch, num_slots, head_dim)
    name = family.backbone.__name__
    if fit.missing or fit.surplus:
        parts = (('missing', fit.missing), ('surplus', fit.surplus))
        problem = ' and '.join(f'{kind} {_first(shapes)}' for kind, shapes in parts if shapes)
        raise ValueError(f'{name} checkpoint: against the nearest architecture, {fit.arch!r}, {problem}')
    return {
        'meta': {'backbone': {'type': f'mmhybrid.{name}', 'arch': fit.arch}, **_class_names(fit.expected)},
        'state_dict': {ours: released[fit.sources[ours]].reshape(shape) for ours, shape in fit.expected.items()},
    }


def _best_fit(
    family: Family, released: Mapping[str, Tensor], arch: str | None, num_slots: int | None, head_dim: int | None
) -> _Fit:
    for field, value in (('num_slots', num_slots), ('head_dim', head_dim)):
        if value is not None and arch is not None:
            raise bad_value(field, value, 'nothing beside arch, which has it')
        if value is not None and family.read_arch is None:
            raise bad_value(field, value, f'nothing for {family.backbone.__name__}, which has no such choice')
    if arch is not None:
        return _fit(family, check_choice('arch', arch, sorted(family.presets)), released)
    if family.read_arch is not None:
        return _fit(family, family.read_arch(released, num_slots, head_dim), released)
    return min(
        (_fit(family, name, released) for name in family.presets), key=lambda fit: len(fit.missing) + len(fit.surplus)
    )


def _class_names(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Where MMPretrain looks for the names of classes; nothing unless they are ImageNet's thousand."""
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES  # late, since it imports all data sets

    heads = [shape for name, shape in shapes.items() if name.startswith('head.') and name.endswith('.bias')]
    is_imagenet = bool(heads) and heads[0] == (IMAGENET_CLASSES,)
    return {'dataset_meta': {'classes': tuple(IMAGENET_CATEGORIES)}} if is_imagenet else {}


def _fit(family: Family, arch: Arch, released: Mapping[str, Tensor]) -> _Fit:
    expected = _expected_shapes(family, arch, released)
    sources: dict[str, str] = {}
    for name, tensor in released.items():
        ours = _rename(name, family.rules)
        if ours in expected and _without_ones(tensor.shape) == _without_ones(expected[ours]):
            sources.setdefault(ours, name)
    used = set(sources.values())
    missing = {name: shape for name, shape in expected.items() if name not in sources}
    surplus = {name: shape for name, shape in _shapes(released).items() if name not in used}
    return _Fit(arch, expected, sources, missing, surplus)


def _expected_shapes(family: Family, arch: Arch, released: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Shapes of our backbone and of the heads; the number of classes is the checkpoint's."""
    with on_meta():
        backbone = family.backbone(arch=arch)
    shapes = _shapes(backbone.state_dict(prefix='backbone.'))
    (width,) = shapes['backbone.norm.weight']
    heads = {'head'} | {name.split('.')[0] for name in released if name.startswith('tklb_aux_head.')}
    for head in sorted(heads):
        bias = released.get(f'{head}.bias')
        num_classes = IMAGENET_CLASSES if bias is None else bias.numel()
        shapes[_rename(f'{head}.weight', family.rules)] = (num_classes, width)
        shapes[_rename(f'{head}.bias', family.rules)] = (num_classes,)
    return shapes


def _rename(name: str, rules: Rules) -> str:
    """Our name, or the released one where no rule has it."""
    for pattern, ours in rules:
        if match := pattern.match(name):
            return match.expand(ours) + name[match.end() :]
    return name


def _without_ones(shape: Shape) -> Shape:
    """What counts of a shape: linear layers became 1x1 convolutions, layer scales of (1, C, 1, 1) plain vectors."""
    return tuple(size for size in shape if size != 1)


def _shapes(state: Mapping[str, Tensor]) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _first(shapes: Mapping[str, Shape]) -> str:
    name, shape = next(iter(shapes.items()))
    return f'{name} {shape}' + (f' and {len(shapes) - 1} more' if len(shapes) > 1 else '')
