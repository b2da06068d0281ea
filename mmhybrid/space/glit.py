"""The search space of GLiT (section 3.2): the split of each block's heads, and the sizes of its parts.

The section "Where to add what" of docs/architecture.md says what else a new gene needs.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from mmhybrid.archs.glit import GLiTArch, GLiTBlockArch
from mmhybrid.registry import SEARCH_SPACES
from mmhybrid.space import around as less
from mmhybrid.space.arch import Arch, Value, same_value
from mmhybrid.space.base import Restriction, SearchSpace
from mmhybrid.space.choice import Choice, Rule, ascending, depth, odd, positive, whole
from mmhybrid.space.found import read_found
from mmhybrid.utils.checks import bad_value, check_choice, check_int, check_keys, check_list

TINY: dict[str, Any] = {'embed_dims': 192, 'num_heads': 3, 'num_blocks': 12, 'locality': 'conv1d'}
LOW_LEVEL = ('mlp_ratio', 'qkv_ratio', 'conv_ratio', 'kernel_size')
# The values of ``conv1d`` are those of table 2, and the other two localities follow table 6, where all else "is kept
# fixed". The ratio of a window is that of its queries and keys, so its candidates are those of the attention heads.
CANDIDATES: dict[str, dict[str, tuple[Value, ...]]] = {
    'conv1d': {
        'mlp_ratio': (2, 4, 6),
        'qkv_ratio': (0.5, 1, 2),
        'conv_ratio': (1, 2, 4),
        'kernel_size': (17, 31, 45),
    },
}
CANDIDATES['conv2d'] = {**CANDIDATES['conv1d'], 'kernel_size': (3, 5, 7)}
CANDIDATES['window'] = {
    **CANDIDATES['conv1d'],
    'conv_ratio': CANDIDATES['conv1d']['qkv_ratio'],
    'kernel_size': (14, 28, 49),
}
# The paper does not say which low level the first stage keeps, so these values are a reading of it. With them, the
# published distribution counts 1.374 G multiply-accumulates without the products of activations, where table 4 has 1.4
# G, and the bound of 1.4 G admits some distributions and rejects others; with an expansion of 2, no distribution
# reaches that bound. For the other localities, the sizes are the middle candidates.
FIXED: dict[str, dict[str, Value]] = {
    'conv1d': {'mlp_ratio': 4, 'qkv_ratio': 1, 'conv_ratio': 4, 'kernel_size': 31},
    'conv2d': {'mlp_ratio': 4, 'qkv_ratio': 1, 'conv_ratio': 4, 'kernel_size': 5},
    'window': {'mlp_ratio': 4, 'qkv_ratio': 1, 'conv_ratio': 1, 'kernel_size': 28},
}
# Ratio of the weights of the local heads, in a block that has no others, to conv_ratio times the squared width.
LOCAL_WEIGHTS = {'conv1d': 3, 'conv2d': 3, 'window': 4}
LEVELS = ('flat', 'distribution', 'detail', 'attention')


@SEARCH_SPACES.register_module()
class GLiTSpace(SearchSpace):
    """The search space over GLiT's blocks.

    The genes of each block are ``blocks.<i>.num_attn_heads`` (0 to N of the N heads; the other heads are local) and
    ``.mlp_ratio``. A block with attention heads also has ``.qkv_ratio``, and a block with local heads ``.conv_ratio``
    and ``.kernel_size``.

    Args:
        embed_dims: Width, a multiple of ``num_heads``. None, here and for the two arguments below, takes the value of
            :data:`TINY`.
        num_heads: Heads N of each block.
        num_blocks: Number of blocks.
        level: Genes that are open. ``flat`` opens all of table 2. ``distribution``, the first stage of the hierarchical
            search, opens ``num_attn_heads`` alone and keeps the other genes at ``fixed``. ``detail``, the second stage,
            opens the genes that the paper searches for a given distribution: the qkv and MLP ratio of all-attention
            blocks, the kernel and expansion of all-local blocks, and the expansion and MLP ratio of mixed blocks; it
            needs the distribution that the first stage found. ``attention``, the "NLP-NAS" baseline, has attention
            blocks only and opens their qkv and MLP ratio.
        distribution: Number of attention heads of each block, or a file that has them: the ``best_arch.json`` of the
            first stage, the ``best_retrained.json`` of its retraining, or ``topk.csv:RANK``. It restricts each
            ``num_attn_heads`` to one value.
        restrict: Values that some genes keep, see :meth:`SearchSpace.restrict`.
        locality: Kind of the local heads, as in the backbone: ``conv1d`` (also None), or ``conv2d`` or ``window`` of
            table 6.
        candidates: Values by gene (``num_attn_heads``, ``mlp_ratio``, ``qkv_ratio``, ``conv_ratio``, ``kernel_size``)
            that replace the paper's. The paper has all N + 1 splits (section 3.2) and the values of table 2 (table 6
            for the other localities).
        fixed: Low-level values by gene that replace those of :data:`FIXED`, for the levels ``distribution`` and
            ``detail``.
        around: Network that is the largest member of the space, see :func:`read_network`; only for the level ``flat``.
            Each gene takes the network's value and smaller ones. The network decides the width, the heads and their
            split, the number of blocks and the locality; ``candidates`` replace the smaller values that follow from it.

    Raises:
        ValueError: If an argument is wrong. The message names the argument, its value and what is allowed.
    """

    arch_class = GLiTArch

    def __init__(
        self,
        embed_dims: int | None = None,
        num_heads: int | None = None,
        num_blocks: int | None = None,
        level: str = 'flat',
        distribution: Sequence[int] | str | None = None,
        restrict: Restriction | None = None,
        locality: str | None = None,
        candidates: Mapping[str, Sequence[Value]] | None = None,
        fixed: Mapping[str, Value] | None = None,
        around: str | Mapping[str, Any] | None = None,
    ) -> None:
        sizes = {'embed_dims': embed_dims, 'num_heads': num_heads, 'num_blocks': num_blocks, 'locality': locality}
        given = {name: value for name, value in sizes.items() if value is not None}
        network = None if around is None else less.read_network(GLiTSpace, around)
        if network is not None:
            if surplus := sorted(given) + ['distribution'] * (distribution is not None):
                raise ValueError(f'{surplus[0]}: surplus, because the network in around decides it')
            check_choice('level', level, ('flat',))
            given = {name: getattr(network, name) for name in ('embed_dims', 'num_heads', 'locality')}
            given['num_blocks'] = len(network.blocks)
        embed_dims, num_heads, num_blocks, locality = {**TINY, **given}.values()
        depth('num_heads', num_heads)
        if whole('embed_dims', embed_dims) % num_heads:
            raise bad_value('embed_dims', embed_dims, f'a multiple of num_heads = {num_heads}')
        depth('num_blocks', num_blocks)
        check_choice('level', level, LEVELS)
        check_choice('locality', locality, tuple(CANDIDATES))
        own: dict[str, tuple[Value, ...]] = {}
        if network is None:
            values = _candidates(locality, candidates, num_heads, embed_dims // num_heads)
        else:
            own = _around(network, candidates)
            values = _candidates(locality, _lists(own), num_heads, embed_dims // num_heads)
        kept = _fixed(locality, fixed, values, level)
        if distribution is not None:
            heads = _heads(distribution, num_blocks)
            restrict = {**(restrict or {}), **{f'blocks.{i}.num_attn_heads': n for i, n in enumerate(heads)}}
        self.embed_dims, self.num_heads, self.num_blocks, self.locality = embed_dims, num_heads, num_blocks, locality
        settings = {'embed_dims': embed_dims, 'num_heads': num_heads, 'num_blocks': num_blocks, 'level': level}
        blocks = [f'blocks.{i}' for i in range(num_blocks)]
        super().__init__(
            [choice for block in blocks for choice in _block(block, num_heads, level, locality, values, kept)],
            {**settings, 'locality': locality, 'candidates': values, 'fixed': kept or None},
            restrict,
            own=own,
        )
        if network is not None:
            less.check_largest(self, network)

    def _decode(self, genes: Arch) -> GLiTArch:
        blocks: list[dict[str, Any]] = [{} for _ in range(self.num_blocks)]
        for name, value in genes.items():
            index, field = _place(name)
            blocks[index][field] = value
        decoded = tuple([GLiTBlockArch(**block) for block in blocks])
        return GLiTArch(self.embed_dims, self.num_heads, decoded, self.locality)

    def _encode(self, arch: GLiTArch) -> Mapping[str, Value]:
        blocks = enumerate(arch.blocks)
        fields = ((i, name, value) for i, block in blocks for name, value in vars(block).items())
        return {f'blocks.{i}.{name}': value for i, name, value in fields if value is not None}


@lru_cache(maxsize=10_000)
def _place(name: str) -> tuple[int, str]:
    """Return the index of the block and the field that a gene decides.

    A space has few names, so the cache splits each only once.
    """
    _, index, field = name.split('.')
    return int(index), field


def _around(network: GLiTArch, candidates: Mapping[str, Any] | None) -> dict[str, tuple[Any, ...]]:
    """Return the values of each gene of a space around a network."""
    check_keys('candidates', {} if candidates is None else candidates, (), LOW_LEVEL)
    head_dim, locality = network.embed_dims // network.num_heads, network.locality
    checked = _candidates(locality, candidates, network.num_heads, head_dim)
    listed = {field: checked[field] for field in candidates or ()}
    for field, values in listed.items():
        own = [getattr(block, field) for block in network.blocks if getattr(block, field) is not None]
        less.check_at_most(f'candidates.{field}', values, own or [0])

    def narrower(ratio: float) -> list[float]:
        return less.narrower(ratio, head_dim)

    sizes = less.smaller_windows if locality == 'window' else less.smaller_kernels
    genes: dict[str, tuple[Any, ...]] = {}
    for i, block in enumerate(network.blocks):
        genes[f'blocks.{i}.num_attn_heads'] = (block.num_attn_heads,)
        for field in LOW_LEVEL:
            own_value = getattr(block, field)
            if own_value is not None:
                smaller = sizes if field == 'kernel_size' else narrower
                genes[f'blocks.{i}.{field}'] = less.own_and_less(own_value, listed.get(field), smaller)
    return genes


def _lists(genes: Mapping[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    """Return the candidates of the smallest space that has all values of ``genes``."""
    fields = dict.fromkeys(name.rpartition('.')[2] for name in genes)
    return {
        field: less.merged(values for name, values in genes.items() if name.endswith(f'.{field}')) for field in fields
    }


def _candidates(
    locality: str, given: Mapping[str, Sequence[Value]] | None, num_heads: int, head_dim: int
) -> dict[str, tuple[Value, ...]]:
    """Return the values of each gene in ascending order."""
    own = {'num_attn_heads': tuple(range(num_heads + 1)), **CANDIDATES[locality]}
    check_keys('candidates', {} if given is None else given, (), tuple(own))

    def split(field: str, value: object) -> int:
        return check_int(field, value, 0, num_heads)

    def ratio(field: str, value: object) -> float:
        if int(positive(field, value) * head_dim) < 1:
            raise bad_value(field, value, f'a ratio that leaves at least one channel of the {head_dim} of a head')
        return value  # type: ignore[return-value]

    checks = {'num_attn_heads': split, 'kernel_size': whole if locality == 'window' else odd}
    return {
        field: ascending(f'candidates.{field}', values, checks.get(field, ratio))
        for field, values in {**own, **(given or {})}.items()
    }


def _fixed(
    locality: str, given: Mapping[str, Value] | None, candidates: Mapping[str, Sequence[Value]], level: str
) -> dict[str, Value]:
    """Return the low level that a stage of the hierarchical search keeps; it is empty for the other levels."""
    if level not in ('distribution', 'detail'):
        if given is not None:
            raise bad_value('fixed', given, f'None with level {level!r}, which fixes nothing')
        return {}
    check_keys('fixed', {} if given is None else given, (), LOW_LEVEL)
    values = {**FIXED[locality], **(given or {})}
    for field, value in values.items():
        if not any(same_value(value, candidate) for candidate in candidates[field]):
            raise bad_value(f'fixed.{field}', value, f'one of the candidates {list(candidates[field])}')
    return values


def _heads(distribution: Sequence[int] | str, num_blocks: int) -> list[Value]:
    """Return the number of attention heads of each block, from a list or a file."""
    if not isinstance(distribution, str):
        return check_list('distribution', distribution, num_blocks)
    arch = read_found(distribution).arch
    names = [f'blocks.{i}.num_attn_heads' for i in range(num_blocks)]
    found = [name for name in arch if name.endswith('.num_attn_heads')]
    if sorted(found) != sorted(names):
        raise bad_value(f'distribution {distribution}', found or list(arch), f'the genes {names[0]} to {names[-1]}')
    return [arch[name] for name in names]


def _block(
    block: str,
    num_heads: int,
    level: str,
    locality: str,
    candidates: Mapping[str, tuple[Value, ...]],
    fixed: Mapping[str, Value],
) -> list[Choice]:
    lists = {**candidates, **{field: (value,) for field, value in fixed.items() if level == 'distribution'}}
    heads = f'{block}.num_attn_heads'
    has_effect = {
        'qkv_ratio': Rule((heads,), lambda attention: attention > 0),
        'conv_ratio': Rule((heads,), lambda attention: attention < num_heads),
        'kernel_size': Rule((heads,), lambda attention: attention < num_heads),
    }

    def is_mixed(attention: int) -> bool:
        return 0 < attention < num_heads

    # The second stage keeps these genes at their fixed values.
    is_closed = {
        'mlp_ratio': lambda attention: attention == 0,
        'qkv_ratio': is_mixed,
        'conv_ratio': lambda attention: False,
        'kernel_size': is_mixed,
    }

    def low_level(field: str) -> Choice:
        limit = Rule((heads,), lambda value, attention: value == fixed[field] or not is_closed[field](attention))
        return Choice(f'{block}.{field}', lists[field], has_effect.get(field), limit if level == 'detail' else None)

    splits = (num_heads,) if level == 'attention' else _by_weights(num_heads, locality, lists)
    return [Choice(heads, splits), *map(low_level, LOW_LEVEL)]


def _by_weights(num_heads: int, locality: str, lists: Mapping[str, tuple[Any, ...]]) -> tuple[int, ...]:
    """Return the splits of a block by the weights of the smallest mixer; the split of the largest mixer comes last.

    The two halves of a width together need fewer weights than the whole, and a convolution head needs more than an
    attention head.
    """

    def weights(attention: int, place: int) -> float:
        share = attention / num_heads
        local = LOCAL_WEIGHTS[locality] * lists['conv_ratio'][place] * (1 - share) ** 2
        return float(local + 4 * lists['qkv_ratio'][place] * share**2)

    splits: tuple[int, ...] = lists['num_attn_heads']
    heaviest = max(splits, key=lambda attention: weights(attention, -1))
    return tuple(sorted(splits, key=lambda attention: (attention == heaviest, weights(attention, 0))))
