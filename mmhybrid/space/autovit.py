"""The search spaces of AutoViT (table 1): one for each of three sizes, and two readings of their union.

This file is long because the spaces of a family stay in one file that can be read from top to bottom. The section
"Where to add what" of docs/architecture.md says what else a new gene needs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from mmhybrid.archs.autovit import DEFAULT_DEPTH, DEFAULT_KERNEL, NUM_CONV_STAGES, AutoViTArch
from mmhybrid.registry import SEARCH_SPACES
from mmhybrid.space import around as less
from mmhybrid.space.arch import Arch, Value
from mmhybrid.space.base import Restriction, SearchSpace
from mmhybrid.space.choice import Choice, Fact, Rule, ascending, depth, positive, whole
from mmhybrid.utils.checks import bad_value, check_bool, check_int, check_keys, check_list

MOST_TABLES = 20  # largest number of tables of a union, each of which has a diagram of its own
# PER_STAGE names the fields that have values of their own for each stage, and the number of stages.
CHECKS = {'mlp_ratios': positive, 'conv_depths': depth, 'depths': depth, 'num_heads': depth}
PER_STAGE = {'conv_widths': NUM_CONV_STAGES, 'conv_depths': NUM_CONV_STAGES, 'widths': None}


@dataclass(frozen=True)
class AutoViTTable:
    """The values of a space, with one tuple for each stage where stages differ.

    Args:
        stem_widths: Channels of the stem ("Conv").
        conv_widths: Channels of each of the three MBConv stages.
        conv_depths: Layers of each MBConv stage.
        widths: Hidden widths d of each transformer stage, for the largest number of stages.
        num_stages: Numbers of transformer stages, from 3 to 5.
        num_heads: Numbers of heads of any transformer stage.
        depths: Numbers of layers of any transformer stage.
        mlp_ratios: Ratios of the hidden width of the MLP to d, for any transformer stage.
        conv_kernels: Kernel sizes of the depth-wise convolution, for any MBConv stage.
        resolutions: Sides of the input in pixels.
    """

    stem_widths: tuple[int, ...]
    conv_widths: tuple[tuple[int, ...], ...]
    conv_depths: tuple[tuple[int, ...], ...]
    widths: tuple[tuple[int, ...], ...]
    num_stages: tuple[int, ...]
    num_heads: tuple[int, ...]
    depths: tuple[int, ...] = (2, 3, 4, 5)
    mlp_ratios: tuple[float, ...] = (1.5, 2)
    conv_kernels: tuple[int, ...] = (3, 5)
    resolutions: tuple[int, ...] = (192, 224, 256)

    @classmethod
    def parse(cls, table: object) -> 'AutoViTTable':
        """Return the table that a name of :data:`TABLES` or a dict with the fields above describes.

        Raises:
            ValueError: If a field is wrong. The message names the field, its value and what is allowed.
        """
        if isinstance(table, str) and table in TABLES:
            return TABLES[table]
        if not isinstance(table, Mapping):
            raise bad_value('table', table, f'one of {sorted(TABLES)}, or a dict')
        required = [field.name for field in fields(cls) if field.default is MISSING]
        optional = [field.name for field in fields(cls) if field.default is not MISSING]
        check_keys('table', table, required, optional)
        parsed = cls(**{name: read_values(name, table[name]) for name in table})
        for count in parsed.num_stages:
            check_int('table.num_stages', count, 3, min(len(parsed.widths), 5))
        return parsed


def read_values(name: str, values: object, num_stages: int | None = None) -> Any:
    """Return the checked values of a field of :class:`AutoViTTable` in ascending order.

    Args:
        name: Name of the field.
        values: List of values, or one list for each stage.
        num_stages: Number of transformer stages, where it is known.

    Raises:
        ValueError: If a value is wrong. The message names the field, the value and what is allowed.
    """
    check = CHECKS.get(name, whole)
    if name not in PER_STAGE:
        return ascending(f'table.{name}', values, check)
    stages = check_list(f'table.{name}', values, PER_STAGE[name] or num_stages)
    return tuple(ascending(f'table.{name}', stage, check) for stage in stages)


_XXS = AutoViTTable(
    stem_widths=(16, 24),
    conv_widths=((16, 24), (24, 32), (32, 48)),
    conv_depths=((1, 2), (2, 3), (2, 3)),
    widths=((48, 64), (64, 80), (80, 96), (96, 112)),
    num_stages=(3, 4),
    num_heads=(2, 3, 4),
)
_XS = replace(
    _XXS,
    conv_widths=((24, 32), (32, 48), (48, 64)),
    widths=((64, 80), (80, 96), (96, 112), (112, 128)),
    num_heads=(4, 5, 6),
)
_S = replace(_XS, widths=((64, 96), (96, 128), (128, 160), (160, 192)), num_heads=(7, 8, 9))


def _mixed(*tables: AutoViTTable) -> AutoViTTable:
    """Return the table in which transformer stages may take any width, and MBConv stages the widths of their place."""
    num_stages = less.merged(table.num_stages for table in tables)
    widths = less.merged(widths for table in tables for widths in table.widths)
    return replace(
        tables[0],
        conv_widths=tuple(less.merged(stage) for stage in zip(*(table.conv_widths for table in tables), strict=True)),
        widths=(widths,) * max(num_stages),
        num_stages=num_stages,
        num_heads=less.merged(table.num_heads for table in tables),
    )


# Table 5's networks have widths that table 1 lacks, and its XXS has a fifth stage; they are added to the first three
# tables.
_XXS_5 = replace(_XXS, widths=(*_XXS.widths, (112,)), num_stages=(3, 4, 5))
_XS_5 = replace(_XS, widths=((64, 80, 96), (80, 96, 120), (96, 112, 144), (112, 128, 168)))
_S_5 = replace(_S, widths=((64, 96, 128), (96, 128, 176), (128, 160, 224), (160, 192, 272)))
TABLES: dict[str, AutoViTTable] = {
    'xxs': _XXS_5,
    'xs': _XS_5,
    's': _S_5,
    'union-free': _mixed(_XXS_5, _XS_5, _S_5),
    'xxs-table1': _XXS,
    'xs-table1': _XS,
    's-table1': _S,
    'union-table1-free': _mixed(_XXS, _XS, _S),
}
# Each network of a union is a network of one of its tables.
UNIONS: dict[str, tuple[str, ...]] = {
    'union': ('xxs', 'xs', 's'),
    'union-table1': ('xxs-table1', 'xs-table1', 's-table1'),
}


@SEARCH_SPACES.register_module()
class AutoViTSpace(SearchSpace):
    """The search space over AutoViT's stages.

    The genes are ``resolution``, ``stem.width``, ``conv.<i>.width``, ``.depth`` and ``.kernel`` of each MBConv stage,
    ``num_stages``, and ``stages.<i>.width``, ``.depth``, ``.num_heads`` and ``.mlp_ratio`` of each transformer stage
    that the network has.

    Args:
        table: Name of :data:`TABLES`, or dict with the fields of :class:`AutoViTTable`. For the single supernet of the
            ablation (section 5.2), a list of these, or a name of :data:`UNIONS`: each network then belongs to at least
            one of the tables, and a random network is drawn from a random table, each with the same probability. In the
            free unions of :data:`TABLES`, a transformer stage takes any width of any table instead, and hardly any
            random network is as small as the XXS. With ``around``, a dict with some of the fields.
        monotone: Whether the widths of the transformer stages never decrease, the paper's inductive bias. It has no
            effect if the widths of the network in ``around`` decrease.
        transformer_only: Whether each MBConv stage is one convolution, without genes for depth and kernel, as in the
            ablation of table 7. With ``around``, the network decides it.
        restrict: Values that some genes keep, see :meth:`SearchSpace.restrict`.
        around: Network that is the largest member of the space, see :func:`read_network`. Each gene takes the network's
            value and smaller ones. By default, the smaller values give fewer layers and heads, narrower MLPs and
            smaller kernels; values in ``table`` replace them. The largest of ``resolutions`` (256 by default) is the
            network's.

    Raises:
        ValueError: If an argument is wrong. The message names the argument, its value and what is allowed.
    """

    arch_class = AutoViTArch

    def __init__(
        self,
        table: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]] | None = None,
        monotone: bool = True,
        transformer_only: bool = False,
        restrict: Restriction | None = None,
        around: str | Mapping[str, Any] | None = None,
    ) -> None:
        self.transformer_only = check_bool('transformer_only', transformer_only)
        check_bool('monotone', monotone)
        network = None if around is None else less.read_network(AutoViTSpace, around)
        own: dict[str, tuple[Any, ...]] = {}
        if network is not None:
            if transformer_only and not network.transformer_only:
                raise bad_value('transformer_only', True, 'False, as in the network in around')
            self.transformer_only = transformer_only = network.transformer_only
            monotone = monotone and sorted(network.embed_dims) == list(network.embed_dims)
            own, table = _around(network, table)
        table = 'xxs' if table is None else table
        listed: Sequence[object] = UNIONS.get(table, [table]) if isinstance(table, str) else [table]
        if isinstance(table, list | tuple):
            listed = check_list('table', table)
            if not 0 < len(listed) <= MOST_TABLES:
                raise bad_value('table', f'{len(listed)} tables', f'from 1 to {MOST_TABLES}')
        tables = [AutoViTTable.parse(one) for one in listed]
        everywhere = range(len(tables))
        super().__init__(
            _choices(tables, everywhere, monotone, transformer_only),
            {
                'table': table if isinstance(table, str) else [_plain(one) for one in listed],
                'monotone': monotone,
                'transformer_only': transformer_only,
            },
            restrict,
            [_choices(tables, [place], monotone, transformer_only) for place in everywhere],
            own,
        )
        if network is not None:
            less.check_largest(self, network)

    def _decode(self, genes: Arch) -> AutoViTArch:
        values: Mapping[str, Any] = genes

        def stages(name: str, count: int = NUM_CONV_STAGES, default: int | None = None) -> tuple[Any, ...]:
            return tuple(values.get(name.format(i), default) for i in range(count))

        num_stages = values['num_stages']
        return AutoViTArch(
            stem_width=values['stem.width'],
            conv_widths=stages('conv.{}.width'),
            conv_depths=stages('conv.{}.depth', default=DEFAULT_DEPTH),
            conv_kernels=stages('conv.{}.kernel', default=DEFAULT_KERNEL),
            embed_dims=stages('stages.{}.width', num_stages),
            depths=stages('stages.{}.depth', num_stages),
            num_heads=stages('stages.{}.num_heads', num_stages),
            mlp_ratios=stages('stages.{}.mlp_ratio', num_stages),
            transformer_only=self.transformer_only,
        )

    def _encode(self, arch: AutoViTArch) -> Mapping[str, Value]:
        genes: dict[str, Value] = {'stem.width': arch.stem_width, 'num_stages': len(arch.embed_dims)}
        fields = {
            'conv.{}.width': 'conv_widths',
            'conv.{}.depth': 'conv_depths',
            'conv.{}.kernel': 'conv_kernels',
            'stages.{}.width': 'embed_dims',
            'stages.{}.depth': 'depths',
            'stages.{}.num_heads': 'num_heads',
            'stages.{}.mlp_ratio': 'mlp_ratios',
        }
        for gene, field in fields.items():
            genes |= {gene.format(i): value for i, value in enumerate(getattr(arch, field))}
        return genes


def _around(network: AutoViTArch, table: object) -> tuple[dict[str, tuple[Any, ...]], dict[str, Any]]:
    """Return the values of each gene of a space around a network, and the table of the smallest space that has them."""
    num_stages = len(network.embed_dims)
    names = [field.name for field in fields(AutoViTTable)]
    check_keys('table', {} if table is None else table, (), names)
    assert table is None or isinstance(table, Mapping)
    listed = {name: read_values(name, values, num_stages) for name, values in (table or {}).items()}
    genes: dict[str, tuple[Any, ...]] = {}

    def add(field: str, gene: str, own: Sequence[Any], smaller: Callable[..., Iterable[Any]]) -> tuple[Any, ...]:
        """Add the gene of each stage, or one gene of the whole network, and return their values."""
        stages = listed.get(field)
        for i, value in enumerate(own):
            values = stages[i] if stages is not None and field in PER_STAGE else stages
            less.check_at_most(f'table.{field}', values, [value] if field in PER_STAGE else own)
            genes[gene.format(i)] = less.own_and_less(value, values, smaller)
        return tuple(genes[gene.format(i)] for i in range(len(own)))

    def narrower(ratio: float) -> list[float]:
        return less.narrower(ratio, min(network.embed_dims))

    lists = {
        'stem_widths': add('stem_widths', 'stem.width', [network.stem_width], less.nothing_less),
        'conv_widths': add('conv_widths', 'conv.{}.width', network.conv_widths, less.nothing_less),
        'conv_depths': add('conv_depths', 'conv.{}.depth', network.conv_depths, less.fewer),
        'conv_kernels': add('conv_kernels', 'conv.{}.kernel', network.conv_kernels, less.smaller_kernels),
        'num_stages': add('num_stages', 'num_stages', [num_stages], less.nothing_less),
        'widths': add('widths', 'stages.{}.width', network.embed_dims, less.nothing_less),
        'depths': add('depths', 'stages.{}.depth', network.depths, less.fewer),
        'num_heads': add('num_heads', 'stages.{}.num_heads', network.num_heads, less.fewer),
        'mlp_ratios': add('mlp_ratios', 'stages.{}.mlp_ratio', network.mlp_ratios, narrower),
    }
    for i in range(NUM_CONV_STAGES) if network.transformer_only else ():
        del genes[f'conv.{i}.depth'], genes[f'conv.{i}.kernel']
    whole_table = {name: values if name in PER_STAGE else less.merged(values) for name, values in lists.items()}
    resolutions = listed.get('resolutions', AutoViTTable.resolutions)
    return genes, {**whole_table, 'resolutions': resolutions}


def _plain(table: object) -> Any:
    """Return the name of a table, or a dict of all of its fields if it has no name."""
    return table if isinstance(table, str) else asdict(AutoViTTable.parse(table))


def _choices(
    tables: Sequence[AutoViTTable], allowed: Sequence[int], monotone: bool, transformer_only: bool
) -> list[Choice | Fact]:
    """Return the choices of all tables, with rules that admit only networks of the tables at the places ``allowed``."""
    start = Fact('tables', (), lambda: tuple(allowed))
    steps: list[Choice | Fact] = [start]

    def add(name: str, values_of: list[tuple[Any, ...]], when: Rule | None = None, floor: str | None = None) -> None:
        """Add a gene with its values in each table; the gene ``floor`` bounds it from below.

        The fact that follows it holds the tables that have all values so far.
        """
        left = steps[-1].name
        given = (left,) if floor is None else (left, floor)

        def admits(value: Value, places: tuple[int, ...], *lower: Any) -> bool:
            return any(value in values_of[k] for k in places) and all(value >= bound for bound in lower)

        def remaining(places: tuple[int, ...], value: Value | None) -> tuple[int, ...]:
            return places if value is None else tuple(k for k in places if value in values_of[k])

        is_depth = name.rpartition('.')[2] in ('depth', 'num_stages')
        steps.append(Choice(name, less.merged(values_of), when, Rule(given, admits), is_depth))
        steps.append(Fact(f'tables after {name}', (left, name), remaining))

    add('resolution', [table.resolutions for table in tables])
    add('stem.width', [table.stem_widths for table in tables])
    for i in range(NUM_CONV_STAGES):
        add(f'conv.{i}.width', [table.conv_widths[i] for table in tables])
        if not transformer_only:
            add(f'conv.{i}.depth', [table.conv_depths[i] for table in tables])
            add(f'conv.{i}.kernel', [table.conv_kernels for table in tables])
    add('num_stages', [table.num_stages for table in tables])
    for i in range(max(len(table.widths) for table in tables)):
        exists = Rule(('num_stages',), lambda count, i=i: count > i)
        floor = f'stages.{i - 1}.width' if monotone and i else None
        add(f'stages.{i}.width', [table.widths[i] if i < len(table.widths) else () for table in tables], exists, floor)
        add(f'stages.{i}.depth', [table.depths for table in tables], exists)
        add(f'stages.{i}.num_heads', [table.num_heads for table in tables], exists)
        add(f'stages.{i}.mlp_ratio', [table.mlp_ratios for table in tables], exists)
    return steps
