"""Take a searched network out of its supernet: a config and weights of its own.

    mmhybrid export-subnet CONFIG --checkpoint SUPERNET.pth --arch WORK_DIR/best_arch.json --out-dir DIR
        [--name best] [--into DETECTOR_CONFIG ...] [--table table.json] [--cfg-options KEY=VALUE ...]

CONFIG is that of the search or of the supernet. Writes ``<name>.py`` (trains and tests as the supernet's data and
schedule say), ``<name>_backbone.py`` (for the ``_base_`` of other configs), ``<name>.pth`` and ``<name>.safetensors``.
``--into`` puts the backbone into configs of its family: a detector or segmentor starts from the weights, the recipe
of a classifier from scratch. ``--table`` measures the network as the table's own were, and says what it predicts.
"""

from collections.abc import Sequence

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.host_configs import write_host_config
from mmhybrid.apis.network_files import described, write_network
from mmhybrid.apis.taking_out import build_supernet, found_in, take_out
from mmhybrid.commands.shared.arguments import Parser, add_config
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.latency.single import predict_arch, time_arch
from mmhybrid.latency.table import LatencyTable
from mmhybrid.utils.checks import check_name

REPEATS = 20  # timed rounds


def main(argv: Sequence[str] | None = None) -> None:
    """Export, and print what was written."""
    parser = Parser(description='Take a searched network out of its supernet.')
    add_config(parser, 'config of the search or of the supernet')
    parser.add_argument('--checkpoint', required=True, help='weights of the supernet')
    parser.add_argument(
        '--arch', required=True, metavar='FILE', help='best_arch.json, best_retrained.json or topk.csv:RANK'
    )
    parser.add_argument('--out-dir', required=True, metavar='DIR', help='where the files go')
    parser.add_argument('--name', default='best', help='of the files; default: best')
    parser.add_argument('--into', nargs='+', default=[], metavar='CONFIG', help='configs to put the backbone into')
    parser.add_argument('--table', metavar='FILE', help='latency table, whose prediction is held against a measurement')
    args = parser.parse_args(argv)
    with ending_on_mistakes():
        check_name('--name', args.name)
        table = None if args.table is None else LatencyTable.load(args.table)
        cfg = load_config(args.config, args.cfg_options)
        model = build_supernet(cfg, args.checkpoint)
        found = found_in(model.space, args.arch)
        network = take_out(model, cfg, found.arch)
        paths = write_network(network, cfg, args.out_dir, args.name, found.metrics)
        predicted = None if table is None else predict_arch(found.arch, table)
        measured = None if table is None else time_arch(found.arch, table, REPEATS)
        paths += [write_host_config(network, target, args.out_dir, args.name) for target in args.into]
    for name, value in described(network, found.metrics).items():
        print(f'{name}: {value}')
    if found.latency_ms is not None:
        print(f'latency_ms: {found.latency_ms:.4g}, as the search estimated it at this resolution')
    if table is not None:
        print(f'latency with {table.device.backend}: predicted {predicted}')
        print(f'latency with {table.device.backend}: measured {measured}')
    print(f'difference to the supernet: {network.difference:.1e}')
    for path in paths:
        print(f'written: {path}')
