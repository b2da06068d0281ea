"""The search space of EfficientNet-Lite, around its published networks Lite0, Lite1 and Lite2."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mmhybrid.archs.efficientnet_lite import NUM_STAGES, EfficientNetLiteArch
from mmhybrid.registry import SEARCH_SPACES
from mmhybrid.space import around as less
from mmhybrid.space.arch import Arch, Value
from mmhybrid.space.base import Restriction, SearchSpace
from mmhybrid.space.choice import Choice, Rule, ascending, depth, odd, positive, whole
from mmhybrid.utils.checks import check_list

VALUES: dict[str, tuple[Any, ...]] = {
    'resolutions': (192, 224, 240, 260),
    'stem_widths': (32,),
    'widths': ((16,), (24,), (40, 48), (80, 88), (112, 120), (192, 208), (320, 352)),
    'depths': ((1,), (2, 3), (2, 3), (3, 4), (3, 4), (4, 5), (1,)),
    'kernel_sizes': ((3, 5),) * NUM_STAGES,
    'expand_ratios': ((1,), *((3, 4, 6),) * (NUM_STAGES - 1)),
    'head_widths': (1280,),
}
# These fields hold one list for the whole network; the other fields hold one list for each stage.
OF_ALL = ('resolutions', 'stem_widths', 'head_widths')


@SEARCH_SPACES.register_module()
class EfficientNetLiteSpace(SearchSpace):
    """The search space over EfficientNet-Lite's stages, and over the kernel and the expansion of each block.

    The genes are ``resolution`` and ``stem.width``, then for each stage ``stages.<i>.width``, ``.depth``,
    ``.blocks.<j>.kernel_size`` and ``.blocks.<j>.expand_ratio``, then ``head.width``.

    Args:
        resolutions: Sides of the input in pixels. None, here and for each list below, takes the values of
            :data:`VALUES`.
        stem_widths: Channels of the stem.
        widths: Channels of each of the seven stages.
        depths: Blocks of each stage.
        kernel_sizes: Odd kernel sizes of each stage's blocks.
        expand_ratios: Ratios of hidden to input channels of each stage's blocks. A block of ratio 1 shares no weights
            with a block that expands.
        head_widths: Channels of the convolution in front of the classifier.
        restrict: Values that some genes keep, see :meth:`SearchSpace.restrict`.
        around: Network that is the largest member of the space, see :func:`read_network`. Each gene takes the network's
            value and smaller ones. By default, the smaller values give fewer blocks, smaller kernels and narrower
            blocks; the lists above replace them. The largest of ``resolutions`` is the network's.

    Raises:
        ValueError: If an argument is wrong. The message names the argument, its value and what is allowed.
    """

    arch_class = EfficientNetLiteArch

    def __init__(
        self,
        resolutions: Sequence[int] | None = None,
        stem_widths: Sequence[int] | None = None,
        widths: Sequence[Sequence[int]] | None = None,
        depths: Sequence[Sequence[int]] | None = None,
        kernel_sizes: Sequence[Sequence[int]] | None = None,
        expand_ratios: Sequence[Sequence[float]] | None = None,
        head_widths: Sequence[int] | None = None,
        restrict: Restriction | None = None,
        around: str | Mapping[str, Any] | None = None,
    ) -> None:
        lists = (resolutions, stem_widths, widths, depths, kernel_sizes, expand_ratios, head_widths)
        given = {
            field: _checked(field, values) for field, values in zip(VALUES, lists, strict=True) if values is not None
        }
        network = None if around is None else less.read_network(EfficientNetLiteSpace, around)
        own = {} if network is None else _around(network, given)
        settings = {**VALUES, **given, **({} if network is None else _lists(own))}
        super().__init__(_choices(settings), settings, restrict, own=own)
        if network is not None:
            less.check_largest(self, network)

    def _decode(self, genes: Arch) -> EfficientNetLiteArch:
        values: Mapping[str, Any] = genes
        depths = [values[f'stages.{stage}.depth'] for stage in range(NUM_STAGES)]

        def blocks(gene: str) -> tuple[tuple[Any, ...], ...]:
            return tuple(
                tuple(values[f'stages.{stage}.blocks.{j}.{gene}'] for j in range(count))
                for stage, count in enumerate(depths)
            )

        return EfficientNetLiteArch(
            stem_width=values['stem.width'],
            embed_dims=tuple(values[f'stages.{stage}.width'] for stage in range(NUM_STAGES)),
            depths=tuple(depths),
            kernel_sizes=blocks('kernel_size'),
            expand_ratios=blocks('expand_ratio'),
            head_width=values['head.width'],
        )

    def _encode(self, arch: EfficientNetLiteArch) -> Mapping[str, Value]:
        genes: dict[str, Value] = {'stem.width': arch.stem_width, 'head.width': arch.head_width}
        for stage in range(NUM_STAGES):
            name = f'stages.{stage}'
            genes |= {f'{name}.width': arch.embed_dims[stage], f'{name}.depth': arch.depths[stage]}
            genes |= {f'{name}.blocks.{j}.kernel_size': size for j, size in enumerate(arch.kernel_sizes[stage])}
            genes |= {f'{name}.blocks.{j}.expand_ratio': ratio for j, ratio in enumerate(arch.expand_ratios[stage])}
        return genes


def _choices(settings: Mapping[str, Any]) -> list[Choice]:
    steps = [Choice('resolution', settings['resolutions']), Choice('stem.width', settings['stem_widths'])]
    for stage, depths in enumerate(settings['depths']):
        name = f'stages.{stage}'
        steps.append(Choice(f'{name}.width', settings['widths'][stage]))
        steps.append(Choice(f'{name}.depth', depths, is_depth=True))
        for j in range(max(depths)):
            exists = Rule((f'{name}.depth',), lambda count, j=j: count > j)
            steps.append(Choice(f'{name}.blocks.{j}.kernel_size', settings['kernel_sizes'][stage], exists))
            steps.append(Choice(f'{name}.blocks.{j}.expand_ratio', settings['expand_ratios'][stage], exists))
    return [*steps, Choice('head.width', settings['head_widths'])]


def _around(network: EfficientNetLiteArch, listed: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Return the values of each gene of a space around a network.

    Values in ``listed`` replace those that follow from the network.
    """
    genes: dict[str, tuple[Any, ...]] = {'resolution': listed.get('resolutions', VALUES['resolutions'])}

    def add(gene: str, field: str, own: Any, smaller: Callable[..., Iterable[Any]], stage: int | None = None) -> None:
        values = listed.get(field)
        genes[gene] = less.own_and_less(own, values if values is None or stage is None else values[stage], smaller)

    for field, own in (('stem_widths', network.stem_width), ('head_widths', network.head_width)):
        less.check_at_most(field, listed.get(field), [own])
        add(f'{field.partition("_")[0]}.width', field, own, less.nothing_less)
    in_width = network.stem_width
    for stage, (width, count) in enumerate(zip(network.embed_dims, network.depths, strict=True)):
        name, kernels, ratios = f'stages.{stage}', network.kernel_sizes[stage], network.expand_ratios[stage]
        most: dict[str, Sequence[float]] = {
            'widths': [width],
            'depths': [count],
            'kernel_sizes': kernels,
            'expand_ratios': ratios,
        }
        for field, values in most.items():
            less.check_at_most(f'{field}[{stage}]', listed[field][stage] if field in listed else None, values)
        add(f'{name}.width', 'widths', width, less.nothing_less, stage)
        add(f'{name}.depth', 'depths', count, less.fewer, stage)
        for j, (kernel, ratio) in enumerate(zip(kernels, ratios, strict=True)):

            def narrower(ratio: float, in_width: int = in_width) -> list[float]:
                # A block that expands must still do so, because without expansion it has weights of its own, which the
                # network lacks.
                return [smaller for smaller in less.narrower(ratio, in_width) if smaller > 1]

            add(f'{name}.blocks.{j}.kernel_size', 'kernel_sizes', kernel, less.smaller_kernels, stage)
            add(f'{name}.blocks.{j}.expand_ratio', 'expand_ratios', ratio, narrower, stage)
            in_width = width
    return genes


def _lists(genes: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
    """Return the arguments of the smallest space that has all values of ``genes``."""

    def stages(gene: str) -> tuple[tuple[Any, ...], ...]:
        return tuple(
            less.merged(
                values for name, values in genes.items() if name.startswith(f'stages.{i}.') and name.endswith(gene)
            )
            for i in range(NUM_STAGES)
        )

    return {
        'resolutions': genes['resolution'],
        'stem_widths': genes['stem.width'],
        'widths': stages('.width'),
        'depths': stages('.depth'),
        'kernel_sizes': stages('.kernel_size'),
        'expand_ratios': stages('.expand_ratio'),
        'head_widths': genes['head.width'],
    }


def _checked(field: str, values: object) -> Any:
    """Return the values of an argument in ascending order."""
    checks: dict[str, Callable[[str, object], Any]] = {'depths': depth, 'kernel_sizes': odd, 'expand_ratios': positive}
    check = checks.get(field, whole)
    if field in OF_ALL:
        return ascending(field, values, check)
    return tuple(ascending(field, stage, check) for stage in check_list(field, values, NUM_STAGES))
