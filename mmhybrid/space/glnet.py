"""The search space of GLNet, around its published networks STL, 4G and 9G.

The section "Where to add what" of docs/architecture.md says what else a new gene needs.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmhybrid.archs.glnet import DEFAULT_KERNEL, DEFAULT_SLOTS, NUM_STAGES, GLNetArch
from mmhybrid.registry import SEARCH_SPACES
from mmhybrid.space import around as less
from mmhybrid.space.arch import Arch, Value
from mmhybrid.space.base import Restriction, SearchSpace
from mmhybrid.space.choice import Choice, Fact, Rule, ascending, depth, odd, positive, whole
from mmhybrid.utils.checks import bad_value, check_bool, check_choice, check_keys, check_list

FLAGS = ('overlapped_patches', 'pos_encoding', 'conv_ffn')
# Mixers are listed from the fewest weights to the most.
MIXERS = ('local', 'mhsa', 'glmix')
PARTS = {'glmix': ('local',)}  # the parts of a mixer that are mixers themselves
# No gene decides these fields; they have these values unless a space sets others.
FIXED: dict[str, Any] = {
    name: getattr(GLNetArch, name) for name in ('head_dim', 'learned_slots', 'fixed_scale', 'layer_scale')
}
VALUES: dict[str, tuple[Any, ...]] = {
    'widths': ((64, 96), (128, 160, 192), (256, 320, 384), (512, 640, 768)),
    'depths': ((2, 3, 4), (2, 3, 4), (6, 9, 12, 15, 18), (2, 3, 4)),
    'ffn_ratios': (2, 3, 4),
    'local_kernels': (3, 5, 7),
    'num_slots': (9, 25, 36, 49, 64, 81),
    'mixers': MIXERS,
    **dict.fromkeys(FLAGS, (False, True)),
}


@SEARCH_SPACES.register_module()
class GLNetSpace(SearchSpace):
    """The search space over GLNet's stages and the mixer of each block.

    The genes are ``overlapped_patches``, ``pos_encoding`` and ``conv_ffn``, then for each stage ``stages.<i>.width``,
    ``.ffn_ratio``, ``.depth`` and ``.blocks.<j>.mixer``. A stage with a glmix or local block also has
    ``.local_kernel``, and a stage with a glmix block ``.num_slots``.

    Args:
        widths: Channels of each of the four stages, multiples of ``head_dim``. None, here and for each list below,
            takes the values of :data:`VALUES`, which are around STL, 4G and 9G.
        depths: Blocks of each stage.
        ffn_ratios: Ratios of the hidden width of the FFN to the stage's width, for any stage.
        local_kernels: Odd kernel sizes of the depth-wise convolution, for any stage.
        num_slots: Numbers of slots, squares, for any stage.
        mixers: Mixers of any block: ``local``, ``mhsa``, ``glmix``.
        overlapped_patches: Values of the flag ``overlapped_patches``, see :class:`GLNetArch`.
        pos_encoding: Values of the flag ``pos_encoding``.
        conv_ffn: Values of the flag ``conv_ffn``.
        restrict: Values that some genes keep, see :meth:`SearchSpace.restrict`.
        around: Network that is the largest member of the space, see :func:`read_network`. Each gene takes the network's
            value and smaller ones. By default, the smaller values give fewer blocks and slots, narrower FFNs and
            smaller kernels; the lists above replace them. A block keeps its mixer, and may also take those of its
            mixer's parts that ``mixers`` lists (``local`` for ``glmix``).
        fixed: Fields that all networks share because no gene decides them, in place of :data:`FIXED`: ``head_dim``,
            ``learned_slots``, ``fixed_scale``, ``layer_scale``.

    Raises:
        ValueError: If an argument is wrong. The message names the argument, its value and what is allowed.
    """

    arch_class = GLNetArch

    def __init__(
        self,
        widths: Sequence[Sequence[int]] | None = None,
        depths: Sequence[Sequence[int]] | None = None,
        ffn_ratios: Sequence[float] | None = None,
        local_kernels: Sequence[int] | None = None,
        num_slots: Sequence[int] | None = None,
        mixers: Sequence[str] | None = None,
        overlapped_patches: Sequence[bool] | None = None,
        pos_encoding: Sequence[bool] | None = None,
        conv_ffn: Sequence[bool] | None = None,
        restrict: Restriction | None = None,
        around: str | Mapping[str, Any] | None = None,
        fixed: Mapping[str, Any] | None = None,
    ) -> None:
        lists = (
            widths,
            depths,
            ffn_ratios,
            local_kernels,
            num_slots,
            mixers,
            overlapped_patches,
            pos_encoding,
            conv_ffn,
        )
        given = {field: values for field, values in zip(VALUES, lists, strict=True) if values is not None}
        network = None if around is None else less.read_network(GLNetSpace, around)
        if network is not None and fixed is not None:
            raise bad_value('fixed', fixed, 'None with around, whose network decides these fields')
        self.fixed = _fixed(fixed if network is None else {name: getattr(network, name) for name in FIXED})
        head_dim = {**FIXED, **self.fixed}['head_dim']
        checked = {field: _checked(field, values, head_dim) for field, values in given.items()}
        own = {} if network is None else _around(network, checked)
        settings = {
            **{field: _checked(field, values, head_dim) for field, values in VALUES.items() if network is None},
            **(checked if network is None else _lists(own)),
            **({'fixed': self.fixed} if self.fixed else {}),
        }
        steps: list[Choice | Fact] = [Choice(flag, settings[flag]) for flag in FLAGS]
        for stage in range(NUM_STAGES):
            steps += _stage(stage, settings)
        super().__init__(steps, settings, restrict, own=own)
        if network is not None:
            less.check_largest(self, network)

    def _decode(self, genes: Arch) -> GLNetArch:
        def stages(field: str, default: Value = 0) -> tuple[Any, ...]:
            return tuple(genes.get(f'stages.{stage}.{field}', default) for stage in range(NUM_STAGES))

        mixers: list[list[Any]] = [[] for _ in range(NUM_STAGES)]
        for name, value in genes.items():
            if name.endswith('.mixer'):
                mixers[int(name.split('.')[1])].append(value)
        flags: dict[str, Any] = {flag: genes[flag] for flag in FLAGS}
        return GLNetArch(
            embed_dims=stages('width'),
            depths=stages('depth'),
            ffn_ratios=stages('ffn_ratio'),
            mixers=tuple(map(tuple, mixers)),
            local_kernels=stages('local_kernel', DEFAULT_KERNEL),
            num_slots=stages('num_slots', DEFAULT_SLOTS),
            **flags,
            **self.fixed,
        )

    def _encode(self, arch: GLNetArch) -> Mapping[str, Value]:
        genes: dict[str, Value] = {flag: getattr(arch, flag) for flag in FLAGS}
        fields = {
            'width': 'embed_dims',
            'ffn_ratio': 'ffn_ratios',
            'depth': 'depths',
            'local_kernel': 'local_kernels',
            'num_slots': 'num_slots',
        }
        for gene, field in fields.items():
            genes |= {f'stages.{stage}.{gene}': value for stage, value in enumerate(getattr(arch, field))}
        for stage, mixers in enumerate(arch.mixers):
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


def _around(network: GLNetArch, listed: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Return the values of each gene of a space around a network.

    Values in ``listed`` replace those that follow from the network.
    """
    whole_network = ('ffn_ratios', 'local_kernels', 'num_slots')
    for field in (*whole_network, *FLAGS):
        own_value = getattr(network, field)
        less.check_at_most(field, listed.get(field), own_value if field in whole_network else [own_value])
    known = {mixer for mixers in network.mixers for own in mixers for mixer in (own, *PARTS.get(own, ()))}
    for mixer in listed.get('mixers', ()):
        check_choice('mixers', mixer, sorted(known))
    genes = {flag: less.own_and_less(getattr(network, flag), listed.get(flag), less.nothing_less) for flag in FLAGS}
    for stage in range(NUM_STAGES):
        own = {field: values[stage] for field, values in vars(network).items() if isinstance(values, tuple)}
        lists = {**listed, **{field: listed[field][stage] for field in ('widths', 'depths') if field in listed}}
        less.check_at_most(f'widths[{stage}]', lists.get('widths'), [own['embed_dims']])
        less.check_at_most(f'depths[{stage}]', lists.get('depths'), [own['depths']])
        width = own['embed_dims']

        def narrower(ratio: float, width: int = width) -> list[float]:
            return less.narrower(ratio, width)

        name = f'stages.{stage}'
        genes[f'{name}.width'] = less.own_and_less(width, lists.get('widths'), less.nothing_less)
        genes[f'{name}.ffn_ratio'] = less.own_and_less(own['ffn_ratios'], lists.get('ffn_ratios'), narrower)
        genes[f'{name}.depth'] = less.own_and_less(own['depths'], lists.get('depths'), less.fewer)
        genes |= {f'{name}.blocks.{j}.mixer': _mixers(mixer, listed) for j, mixer in enumerate(own['mixers'])}
        genes[f'{name}.local_kernel'] = less.own_and_less(
            own['local_kernels'], lists.get('local_kernels'), less.smaller_kernels
        )
        genes[f'{name}.num_slots'] = less.own_and_less(own['num_slots'], lists.get('num_slots'), less.fewer_slots)
    return genes


def _mixers(own: str, listed: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the listed parts of a block's mixer, and then the mixer itself."""
    return (*(mixer for mixer in PARTS.get(own, ()) if mixer in listed.get('mixers', ())), own)


def _lists(genes: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
    """Return the arguments of the smallest space that has all values of ``genes``."""

    def stages(field: str) -> tuple[tuple[Any, ...], ...]:
        return tuple(genes[f'stages.{stage}.{field}'] for stage in range(NUM_STAGES))

    mixers = less.merged(values for name, values in genes.items() if name.endswith('.mixer'))
    return {
        'widths': stages('width'),
        'depths': stages('depth'),
        'ffn_ratios': less.merged(stages('ffn_ratio')),
        'local_kernels': less.merged(stages('local_kernel')),
        'num_slots': less.merged(stages('num_slots')),
        'mixers': _checked('mixers', mixers, 0),
        **{flag: genes[flag] for flag in FLAGS},
    }


def _fixed(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Check the given fields and return those that differ from :data:`FIXED`."""
    check_keys('fixed', {} if given is None else given, (), tuple(FIXED))
    fixed = {**FIXED, **(given or {})}
    whole('fixed.head_dim', fixed['head_dim'])
    check_bool('fixed.learned_slots', fixed['learned_slots'])
    check_bool('fixed.fixed_scale', fixed['fixed_scale'])
    if fixed['layer_scale'] is not None:
        positive('fixed.layer_scale', fixed['layer_scale'])
    return {name: value for name, value in fixed.items() if value != FIXED[name]}


def _checked(field: str, values: object, head_dim: int) -> Any:
    """Return the values of an argument in ascending order."""

    def width(field: str, value: object) -> int:
        if whole(field, value) % head_dim:
            raise bad_value(field, value, f'a multiple of {head_dim}')
        return whole(field, value)

    checks = {'widths': width, 'depths': depth, 'ffn_ratios': positive, 'local_kernels': odd, 'num_slots': _square}
    if field in ('widths', 'depths'):
        return tuple(ascending(field, stage, checks[field]) for stage in check_list(field, values, NUM_STAGES))
    if field == 'mixers':
        mixers = (check_choice(field, mixer, MIXERS) for mixer in check_list(field, values))
        return tuple(sorted(mixers, key=MIXERS.index))
    return ascending(field, values, checks.get(field, check_bool))


def _square(field: str, value: object) -> int:
    if math.isqrt(whole(field, value)) ** 2 != value:
        raise bad_value(field, value, 'a square number')
    return whole(field, value)
