"""The layouts of a released GLNet, and its architecture, which is read from the names and shapes of its tensors.

Options of the released class that mmhybrid's backbone lacks are refused by their names in the released class. The
number of pooled slots and the width of a head leave no trace in the tensors and have to be given.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmhybrid.archs.glnet import DEFAULT_KERNEL, DEFAULT_SLOTS, NUM_STAGES, PRESETS, GLNetArch
from mmhybrid.models.layouts import Layout, renaming
from mmhybrid.utils.checks import bad_value

Block = dict[str, Tensor]
BLOCK = re.compile(r'stages\.(\d+)\.blocks\.(\d+)\.(.+)')
INITIAL_LAYER_SCALE = 1e-4  # as in the preset 16g; the weights replace it


def read_arch(released: Mapping[str, Tensor], num_slots: int | None, head_dim: int | None) -> str | dict[str, Any]:
    """Return ``arch`` of the backbone, which is the name of a preset or else a dict.

    Args:
        released: Tensors of the checkpoint by their released names.
        num_slots: Number of pooled slots; None if slots are learned, since the tensors then have their number.
        head_dim: Channels of a head.

    Raises:
        ValueError: If the checkpoint has an option that mmhybrid's backbone lacks, a tensor that is needed is missing,
            or ``num_slots`` or ``head_dim`` is needed and not given.
    """
    stages = _read_blocks(released)
    first = stages[0][0]
    _refuse_options(released, stages)
    _ask(stages, num_slots, head_dim)
    widths = [_need(stage[0], 'norm1.weight').numel() for stage in stages]
    hidden = [_need(stage[0], 'mlp.0.weight').shape[0] for stage in stages]
    arch = {
        'embed_dims': widths,
        'depths': [len(stage) for stage in stages],
        'ffn_ratios': [size / width for size, width in zip(hidden, widths, strict=True)],
        'mixers': [[_read_mixer(block) for block in stage] for stage in stages],
        'local_kernels': [_first(stage, 'feature_conv.1.weight', -1, DEFAULT_KERNEL) for stage in stages],
        'num_slots': [_first(stage, 'init_slots', 1, num_slots or DEFAULT_SLOTS) for stage in stages],
        'head_dim': head_dim,
        'learned_slots': any('init_slots' in block for stage in stages for block in stage),
        'fixed_scale': _has_fixed_scale(stages),
        'overlapped_patches': 'downsample_layers.0.4.weight' in released,
        'pos_encoding': 'pos_conv.weight' in first,
        'conv_ffn': 'mlp.1.weight' in first,
        'layer_scale': INITIAL_LAYER_SCALE if 'ls1.gamma' in first else None,
    }
    parsed = GLNetArch.parse(arch)
    return next((name for name, preset in PRESETS.items() if GLNetArch.parse(preset) == parsed), arch)


def _read_blocks(released: Mapping[str, Tensor]) -> list[list[Block]]:
    """Return the tensors of each block of each stage."""
    blocks: dict[tuple[int, int], Block] = {}
    for name, tensor in released.items():
        if match := BLOCK.fullmatch(name):
            blocks.setdefault((int(match[1]), int(match[2])), {})[match[3]] = tensor
    stages = [[blocks[key] for key in sorted(blocks) if key[0] == stage] for stage in range(NUM_STAGES)]
    places = [(stage, index) for stage, inside in enumerate(stages) for index in range(len(inside))]
    if not all(stages) or sorted(blocks) != places:
        raise ValueError(f'GLNet checkpoint: its blocks do not form {NUM_STAGES} stages without gaps')
    return stages


def _refuse_options(released: Mapping[str, Tensor], stages: Sequence[Sequence[Block]]) -> None:
    overlapped = 'downsample_layers.0.4.weight' in released
    norm_first = released.get('downsample_layers.1.0.weight', torch.empty(0)).dim() == 1
    kernels = {block['pos_conv.weight'].shape[-1] for stage in stages for block in stage if 'pos_conv.weight' in block}
    without_attention = any(
        'slot_scale' in block and 'relation_mha.in_proj_weight' not in block for stage in stages for block in stage
    )
    options = {
        'dual_patch_norm=True': overlapped and 'downsample_layers.0.0.weight' in released,
        f'transition_layout={"norm.proj" if norm_first else "proj.norm"!r}': norm_first == overlapped,
        f'cpe_ks={max(kernels, default=0)}': bool(kernels - {3}),
        'use_slot_attention=False': without_attention,
        'norm_layer other than BatchNorm2d': 'norm.weight' in released and 'norm.running_mean' not in released,
    }
    for option, is_set in options.items():
        if is_set:
            raise ValueError(f'GLNet checkpoint: it was trained with {option}, which this backbone lacks')


def _ask(stages: Sequence[Sequence[Block]], num_slots: int | None, head_dim: int | None) -> None:
    pooled = any('slot_scale' in block and 'init_slots' not in block for stage in stages for block in stage)
    if num_slots is not None and not pooled:
        raise bad_value('num_slots', num_slots, 'nothing, since no slots are pooled in this checkpoint')
    unsaid = ['num_slots (64 as published)'] if pooled and num_slots is None else []
    unsaid += ['head_dim (32 as published)'] if head_dim is None else []
    if unsaid:
        raise ValueError(
            f'GLNet checkpoint: its tensors do not determine {" and ".join(unsaid)}; give these, or as arch '
            f'the published network, one of {sorted(PRESETS)}'
        )


def _read_mixer(block: Block) -> str:
    if 'mha_op.in_proj_weight' in block:
        return 'mhsa'
    _need(block, 'slot_scale')
    return 'glmix' if 'feature_conv.1.weight' in block else 'global'


def _first(stage: Sequence[Block], name: str, axis: int, default: int) -> int:
    """Return the length along an axis of a tensor in the first block that has it, or ``default`` if none has it."""
    return next((block[name].shape[axis] for block in stage if name in block), default)


def _has_fixed_scale(stages: Sequence[Sequence[Block]]) -> bool:
    """Return whether all scales of slots have their initial values, as with the released ``scale_mode='const'``."""
    scales = [
        (block['slot_scale'], _need(block, 'norm1.weight').numel() ** -0.5)
        for stage in stages
        for block in stage
        if 'slot_scale' in block
    ]
    return bool(scales) and all(torch.equal(scale, scale.new_tensor(initial)) for scale, initial in scales)


def _need(block: Block, name: str) -> Tensor:
    if name not in block:
        raise ValueError(f'GLNet checkpoint: a block has no {name}; it has {sorted(block)}')
    return block[name]


_GLNET_RULES = (
    *renaming(
        {
            'downsample_layers.': 'backbone.downsamplers.',
            'norm.': 'backbone.norm.',
            'head.': 'head.fc.',
            'tklb_aux_head.': 'head.aux_fc.',
        }
    ),
    *renaming(
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
    *renaming({'0.0.': '0.patch.', '0.1.': '0.patch_norm.'}, r'downsample_layers\.', 'backbone.downsamplers.'),
    *renaming({'0.': 'patch_norm.', '1.': 'patch.'}, r'downsample_layers\.([1-3])\.', r'backbone.downsamplers.\1.'),
)
_OVERLAPPED_STEM_RULES = renaming(  # the released stem begins with an identity
    {'1.': '0.', '2.': '1.', '4.': '3.', '5.': '4.'}, r'downsample_layers\.0\.', 'backbone.downsamplers.0.'
)

LAYOUTS = (
    Layout('downsample_layers.0.4.weight', _OVERLAPPED_STEM_RULES + _GLNET_RULES, read_arch),
    Layout('downsample_layers.0.0.weight', _PATCH_RULES + _GLNET_RULES, read_arch),
)
