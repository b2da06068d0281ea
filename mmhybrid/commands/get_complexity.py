"""Count the parameters, MACs and activations of a model, part by part.

    mmhybrid get-complexity CONFIG [--shape H W] [--cfg-options KEY=VALUE ...]

A MAC is one multiplication with its addition, which papers often call a FLOP. Convolutions and all matrix products are
counted. The column "no products" leaves out the products of two activations (attention scores and values, slots); "no
attention" also leaves out the projections of the layers that have such products. For a supernet, the space is printed
too: its size, the cost of the smallest and the largest network (of a detector or segmentor with neck and heads), and
the values of its genes.
"""

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import ConfigDict
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.narrowing import widths_of
from mmhybrid.commands.shared.arguments import Parser, add_config
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.counting.complexity import Complexity, count_complexity
from mmhybrid.counting.surroundings import surroundings_of
from mmhybrid.models.build import build_model, build_on_meta
from mmhybrid.models.fitting import with_settings, with_widths
from mmhybrid.models.input_channels import input_channels
from mmhybrid.models.supernets import Supernet
from mmhybrid.space import SearchSpace
from mmhybrid.space.whole_model import with_genes

TABLE_WIDTH = 120  # wide enough for any part; a narrower terminal would cut off figures


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = Parser(description='Count the parameters, MACs and activations of a model, part by part.')
    add_config(parser)
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        default=[224, 224],
        metavar=('H', 'W'),
        help='height and width of the images; default: 224 224',
    )
    return parser.parse_args(argv)


def make_table(title: str, total: Complexity) -> Table:
    """Return a table with a row for each part and one for the whole model."""
    table = Table(title=title, box=SIMPLE)
    table.add_column('part', no_wrap=True)
    for name in ('parameters', 'MACs (G)', 'no products', 'no attention', 'activations (M)'):
        table.add_column(name, justify='right', no_wrap=True)
    for name, cost in (*total.parts.items(), ('total', total)):
        if name == 'total':
            table.add_section()
        counts = (cost.macs, cost.macs - cost.macs_attention, cost.macs - cost.macs_attention_layers)
        gmacs = [f'{count / 1e9:,.4f}' for count in counts]
        table.add_row(name, f'{cost.params:,}', *gmacs, f'{cost.activations / 1e6:,.3f}')
    return table


def space_tables(
    supernet: Supernet, space: SearchSpace, shape: Sequence[int], around: Mapping[str, Any] | None
) -> Iterator[Table]:
    """Yield tables of the smallest and the largest network of a supernet, and of the values of its genes.

    Args:
        supernet: The backbone.
        space: Search space of the networks.
        shape: Height and width of an image, for spaces whose genes do not contain the resolution.
        around: The detector or segmentor around the backbone, see :func:`surroundings_of`; None for the backbone alone.
    """
    kind = 'backbone' if around is None else 'network'
    for name, arch in (('smallest', space.smallest()), ('largest', space.largest())):
        side = space.resolution(arch) if around is None or space.has_resolutions else None
        height, width = shape if side is None else (side, side)
        backbone = {**supernet.backbone_cfg, 'arch': space.decode(arch)}
        whole = backbone
        if around is not None:
            rest = with_widths(with_settings(around, space.settings(arch)), widths_of(backbone))
            whole = {**rest, 'backbone': backbone}
        network = build_on_meta(ConfigDict(whole))  # OpenMMLab reads keys as attributes
        total = count_complexity(network, (input_channels(network), height, width))
        yield make_table(f'the {name} {kind} of {space.size():,} at {height} x {width}', total)
    table = Table(title='what its genes may be', box=SIMPLE)
    for name in ('gene', 'values', 'genes'):
        table.add_column(name, justify='right' if name == 'genes' else 'left')
    for (pattern, values), count in space.ranges().items():
        table.add_row(
            pattern, ', '.join(f'{value:g}' if isinstance(value, float) else str(value) for value in values), str(count)
        )
    yield table


def main(argv: Sequence[str] | None = None) -> None:
    """Count and print."""
    args = parse_args(argv)
    with ending_on_mistakes():
        cfg = load_config(args.config, args.cfg_options)
        model = build_model(cfg)
        total = count_complexity(model, (input_channels(model), *args.shape))
    console = Console(width=TABLE_WIDTH)
    console.print(make_table(f'{args.config} at {args.shape[0]} x {args.shape[1]}', total))
    for supernet in (part for part in model.modules() if isinstance(part, Supernet)):
        around = surroundings_of(cfg.model.get('architecture') or {}, cfg.get('default_scope'))
        space = with_genes(supernet.space, cfg.model.get('genes'))
        for table in space_tables(supernet, space, args.shape, around):
            console.print(table)
