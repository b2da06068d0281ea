"""A space of GLNet, around its published networks STL, 4G and 9G."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmhybrid.space.arch import Arch, Value
from mmhybrid.space.base import Restriction, SearchSpace
from mmhybrid.space.choice import Choice, Fact, Rule, ascending, depth, positive, whole
from mmhybrid.utils.checks import bad_value, check_bool, check_choice, check_list

NUM_STAGES = 4
FLAGS = ('overlapped_patches', 'pos_encoding', 'conv_ffn')
# From the fewest weights to the most.
MIXERS = ('local', 'mhsa', 'glmix')
DEFAULT_KERNEL = 5
DEFAULT_SLOTS = 64


class GLNetSpace(SearchSpace):
    """GLNet's stages and the mixer of each block.

    Genes ``overlapped_patches``, ``pos_encoding``, ``conv_ffn``, then for each stage ``stages.<i>.width``,
    ``.ffn_ratio``, ``.depth``, ``.blocks.<j>.mixer``, with a glmix or local block ``.local_kernel``, with a glmix
    block ``.num_slots``.

    Args:
        widths: Channels of each of the four stages, multiples of 32.
        depths: Blocks of each stage.
        ffn_ratios: Of any stage, as the following: hidden width of the FFN over the stage's.
        local_kernels: Odd size of the depth-wise convolution.
        num_slots: Slots, squares.
        mixers: Of any block: ``local``, ``mhsa``, ``glmix``.
        overlapped_patches: Values of the flag, as for the following two; see :class:`GLNetArch`.
        restrict: See :meth:`SearchSpace.restrict`.

    Raises:
        ValueError: Naming the argument, the value and what is allowed.
    """

    def __init__(
        self,
        widths: Sequence[Sequence[int]] = ((64, 96), (128, 160, 192), (256, 320, 384), (512, 640, 768)),
        depths: Sequence[Sequence[int]] = ((2, 3, 4), (2, 3, 4), (6, 9, 12, 15, 18), (2, 3, 4)),
        ffn_ratios: Sequence[float] = (2, 3, 4),
        local_kernels: Sequence[int] = (3, 5, 7),
        num_slots: Sequence[int] = (9, 25, 36, 49, 64, 81),
        mixers: Sequence[str] = MIXERS,
        overlapped_patches: Sequence[bool] = (False, True),
        pos_encoding: Sequence[bool] = (False, True),
        conv_ffn: Sequence[bool] = (False, True),
        restrict: Restriction | None = None,
    ) -> None:
        flags = dict(zip(FLAGS, (overlapped_patches, pos_encoding, conv_ffn), strict=True))
        settings: dict[str, Any] = {
            'widths': [ascending('widths', stage, _width) for stage in check_list('widths', widths, NUM_STAGES)],
            'depths': [ascending('depths', stage, depth) for stage in check_list('depths', depths, NUM_STAGES)],
            'ffn_ratios': ascending('ffn_ratios', ffn_ratios, positive),
            'local_kernels': ascending('local_kernels', local_kernels, _odd),
            'num_slots': ascending('num_slots', num_slots, _square),
            'mixers': tuple(
                sorted((check_choice('mixers', m, MIXERS) for m in check_list('mixers', mixers)), key=MIXERS.index)
            ),
            **{flag: ascending(flag, values, check_bool) for flag, values in flags.items()},
        }
        steps: list[Choice | Fact] = [Choice(flag, settings[flag]) for flag in FLAGS]
        for stage in range(NUM_STAGES):
            steps += _stage(stage, settings)
        super().__init__(steps, settings, restrict)

    def _decode(self, arch: Arch) -> dict[str, Any]:
        def stages(field: str, default: Value = 0) -> list[Value]:
            return [arch.get(f'stages.{stage}.{field}', default) for stage in range(NUM_STAGES)]

        mixers: list[list[Value]] = [[] for _ in range(NUM_STAGES)]
        for name, value in arch.items():
            if name.endswith('.mixer'):
                mixers[int(name.split('.')[1])].append(value)
        return {
            'arch': {
                'embed_dims': stages('width'),
                'depths': stages('depth'),
                'ffn_ratios': stages('ffn_ratio'),
                'mixers': mixers,
                'local_kernels': stages('local_kernel', DEFAULT_KERNEL),
                'num_slots': stages('num_slots', DEFAULT_SLOTS),
                **{flag: arch[flag] for flag in FLAGS},
            }
        }

    def _encode(self, backbone: Mapping[str, Any]) -> Mapping[str, Value]:
        genes: dict[str, Value] = {flag: backbone[flag] for flag in FLAGS}
        fields = {
            'width': 'embed_dims',
            'ffn_ratio': 'ffn_ratios',
            'depth': 'depths',
            'local_kernel': 'local_kernels',
            'num_slots': 'num_slots',
        }
        for gene, field in fields.items():
            genes |= {f'stages.{stage}.{gene}': value for stage, value in enumerate(backbone[field])}
        for stage, mixers in enumerate(backbone['mixers']):
            genes |= {f'stages.{stage}.blocks.{j}.mixer': mixer for j, mixer in enumerate(mixers)}
        return genes


def _stage(index: int, settings: dict[str, Any]) -> list[Choice | Fact]:
    stage, depths = f'stages.{index}', settings['depths'][index]
    steps: list[Choice | Fact] = [
        Choice(f'{stage}.width', settings['widths'][index]),
        Choice(f'{stage}.ffn_ratio', settings['ffn_ratios']),
        Choice(f'{stage}.depth', depths, is_depth=True),
    ]
    used = f'{stage}.mixers_used'
    steps.append(Fact(used, (), frozenset))
    for j in range(max(depths)):
        mixer, used_before = f'{stage}.blocks.{j}.mixer', used
        used = f'{stage}.mixers_used_to.{j}'
        exists = Rule((f'{stage}.depth',), lambda depth, j=j: depth > j)
        steps.append(Choice(mixer, settings['mixers'], exists))
        steps.append(Fact(used, (used_before, mixer), lambda before, new: before | {new}))
    has_local = Rule((used,), lambda mixers: 'local' in mixers or 'glmix' in mixers)
    has_slots = Rule((used,), lambda mixers: 'glmix' in mixers)
    steps.append(Choice(f'{stage}.local_kernel', settings['local_kernels'], has_local))
    steps.append(Choice(f'{stage}.num_slots', settings['num_slots'], has_slots))
    return steps


def _width(field: str, value: object) -> int:
    if whole(field, value) % 32:
        raise bad_value(field, value, 'a multiple of 32')
    return whole(field, value)


def _odd(field: str, value: object) -> int:
    if whole(field, value) % 2 == 0:
        raise bad_value(field, value, 'an odd number')
    return whole(field, value)


def _square(field: str, value: object) -> int:
    if math.isqrt(whole(field, value)) ** 2 != value:
        raise bad_value(field, value, 'a square number')
    return whole(field, value)
