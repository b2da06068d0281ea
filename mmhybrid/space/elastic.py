"""The search space of a network of another library that an adapter makes elastic."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mmhybrid.archs.elastic import ElasticArch
from mmhybrid.registry import SEARCH_SPACES
from mmhybrid.space import around as less
from mmhybrid.space.arch import Arch, Value
from mmhybrid.space.base import Restriction, SearchSpace
from mmhybrid.space.choice import Choice, Rule, ascending, depth, odd, whole
from mmhybrid.utils.checks import bad_value, check_list

# Each field of an architecture is mapped to the gene of a block and to the check of its values.
OF_BLOCKS: dict[str, tuple[str, Callable[[str, object], Any]]] = {
    'kernel_sizes': ('kernel_size', odd),
    'hidden_widths': ('hidden_width', whole),
}


@SEARCH_SPACES.register_module()
class ElasticSpace(SearchSpace):
    """The search space over depths, kernels and hidden channels; channels between blocks stay as the network has them.

    The genes of each stage are ``stages.<i>.depth``, ``stages.<i>.blocks.<j>.kernel_size`` and ``.hidden_width``. A
    stage has the latter two only if its blocks have them.

    Args:
        depths: Blocks of each stage. None, here and for the two lists below, takes the values that follow from
            ``around``.
        kernel_sizes: Odd kernel sizes of each stage's blocks; an empty list for a stage whose blocks keep theirs.
        hidden_widths: Channels inside each stage's blocks; an empty list for a stage whose blocks keep theirs.
        restrict: Values that some genes keep, see :meth:`SearchSpace.restrict`.
        around: The whole network as its adapter takes it (``arch``), see :func:`read_network`. Each gene takes the
            network's value and smaller ones. By default, the smaller values are at least half of the blocks, and about
            one half and three quarters of the kernel size and of the hidden channels; the lists above replace them.

    Raises:
        ValueError: If an argument is wrong. The message names the argument, its value and what is allowed.
    """

    arch_class = ElasticArch

    def __init__(
        self,
        depths: Sequence[Sequence[int]] | None = None,
        kernel_sizes: Sequence[Sequence[int]] | None = None,
        hidden_widths: Sequence[Sequence[int]] | None = None,
        restrict: Restriction | None = None,
        around: str | Mapping[str, Any] | None = None,
    ) -> None:
        network = None if around is None else less.read_network(ElasticSpace, around)
        if network is None and depths is None:
            raise bad_value('depths', depths, 'a list of values for each stage, or around, a network')
        num_stages = len(check_list('depths', depths)) if network is None else len(network.depths)
        lists = {'depths': depths, 'kernel_sizes': kernel_sizes, 'hidden_widths': hidden_widths}
        given = {field: _checked(field, values, num_stages) for field, values in lists.items() if values is not None}
        own = {} if network is None else _around(network, given)
        settings = _lists(own, num_stages) if own else dict.fromkeys(lists, ((),) * num_stages) | given
        super().__init__(_choices(settings), settings, restrict, own=own)
        if network is not None:
            less.check_largest(self, network)

    def _decode(self, genes: Arch) -> ElasticArch:
        values: Mapping[str, Any] = genes
        depths: list[int] = []
        while (name := f'stages.{len(depths)}.depth') in values:
            depths.append(values[name])

        def blocks(gene: str) -> tuple[tuple[int, ...], ...]:
            names = ([f'stages.{i}.blocks.{j}.{gene}' for j in range(count)] for i, count in enumerate(depths))
            return tuple(tuple(values[name] for name in stage if name in values) for stage in names)

        return ElasticArch(tuple(depths), *(blocks(gene) for gene, _ in OF_BLOCKS.values()))

    def _encode(self, arch: ElasticArch) -> Mapping[str, Value]:
        genes: dict[str, Value] = {f'stages.{i}.depth': count for i, count in enumerate(arch.depths)}
        for field, (gene, _) in OF_BLOCKS.items():
            for i, stage in enumerate(getattr(arch, field)):
                genes |= {f'stages.{i}.blocks.{j}.{gene}': value for j, value in enumerate(stage)}
        return genes


def _choices(settings: Mapping[str, Any]) -> list[Choice]:
    steps = []
    for i, depths in enumerate(settings['depths']):
        steps.append(Choice(f'stages.{i}.depth', depths, is_depth=True))
        for j in range(max(depths)):
            exists = Rule((f'stages.{i}.depth',), lambda count, j=j: count > j)
            steps += [
                Choice(f'stages.{i}.blocks.{j}.{gene}', values, exists)
                for field, (gene, _) in OF_BLOCKS.items()
                if (values := settings[field][i])
            ]
    return steps


def _around(network: ElasticArch, listed: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Return the values of each gene of a space around a network.

    Values in ``listed`` replace those that follow from the network.
    """
    genes: dict[str, tuple[Any, ...]] = {}

    def add(gene: str, field: str, stage: int, own: int, smaller: Callable[[int], Iterable[int]]) -> None:
        genes[gene] = less.own_and_less(own, listed[field][stage] if field in listed else None, smaller)

    smaller_of = {'kernel_sizes': less.smaller_kernels, 'hidden_widths': less.narrower_widths}
    for i, count in enumerate(network.depths):
        for field, values in (('depths', [count]), *((field, getattr(network, field)[i]) for field in OF_BLOCKS)):
            if field in listed:
                less.check_at_most(f'{field}[{i}]', listed[field][i], values or [0])
        add(f'stages.{i}.depth', 'depths', i, count, less.fewer)
        for j in range(count):
            for field, (gene, _) in OF_BLOCKS.items():
                if stage := getattr(network, field)[i]:
                    add(f'stages.{i}.blocks.{j}.{gene}', field, i, stage[j], smaller_of[field])
    return genes


def _lists(genes: Mapping[str, tuple[Any, ...]], num_stages: int) -> dict[str, Any]:
    """Return the arguments of the smallest space that has all values of ``genes``."""

    def stages(gene: str) -> tuple[tuple[Any, ...], ...]:
        return tuple(
            less.merged(
                values for name, values in genes.items() if name.startswith(f'stages.{i}.') and name.endswith(gene)
            )
            for i in range(num_stages)
        )

    return {'depths': stages('.depth'), **{field: stages(f'.{gene}') for field, (gene, _) in OF_BLOCKS.items()}}


def _checked(field: str, values: object, num_stages: int) -> Any:
    """Return the values of an argument in ascending order; a list that blocks may lack may be empty."""
    check = depth if field == 'depths' else OF_BLOCKS[field][1]
    return tuple(
        () if field != 'depths' and stage in ([], ()) else ascending(f'{field}[{i}]', stage, check)
        for i, stage in enumerate(check_list(field, values, num_stages))
    )
