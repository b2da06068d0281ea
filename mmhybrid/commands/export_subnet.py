"""Export a searched network from its supernet, or every network of a search's Pareto front.

    mmhybrid export-subnet CONFIG --checkpoint SUPERNET --arch best_arch.json --out-dir DIR
    mmhybrid export-subnet CONFIG --checkpoint SUPERNET --work-dir WORK_DIR --front --out-dir DIR
    mmhybrid export-subnet CONFIG --checkpoint SUPERNET --work-dir WORK_DIR --within latency_ms=20 --out-dir DIR

CONFIG is the config of the search or of the supernet. The command writes ``<name>.py`` (which trains and tests with the
supernet's data and schedule), ``<name>_backbone.py`` (for the ``_base_`` of other configs), ``<name>.pth`` and
``<name>.safetensors``.

WORK_DIR is the work directory of a search. With ``--front``, each network of its front gets a folder, and ``front.csv``
lists the scores and costs of all. With ``--within``, the network with the best score within the given costs is
exported. ``--into`` writes copies of other configs with this backbone: detectors and segmentors start from its weights,
classifiers from random ones. ``--format`` also writes the network for a runtime. ``--table`` measures the network with
the table's device and settings, and prints the table's prediction and the measurement. ``--intervals`` reports the 95 %
interval of each detector's box AP and whether the AP is significantly above that of the next detector on the front, and
writes both into ``intervals.json`` for the report.
"""

from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from mmhybrid.apis.configs import load_config
from mmhybrid.apis.export import FORMATS
from mmhybrid.apis.front_intervals import box_intervals, check_counts_boxes
from mmhybrid.apis.fronts import FRONT_FILE, export_beside, export_front, found_by
from mmhybrid.apis.host_configs import write_host_config
from mmhybrid.apis.network_files import described, write_network
from mmhybrid.apis.search_results import read_search
from mmhybrid.apis.taking_out import arch_in, build_supernet, found_in, take_out
from mmhybrid.commands.shared.arguments import Parser, add_config
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.commands.shared.storage import add_storage
from mmhybrid.latency.load import workload_for
from mmhybrid.latency.single import predict_arch, time_arch
from mmhybrid.latency.table import LatencyTable
from mmhybrid.models.one_shot import OneShot
from mmhybrid.search import SearchError, SearchResult
from mmhybrid.space.found import Found
from mmhybrid.utils.checks import check_float, check_name

REPEATS = 20  # number of timed rounds
DEFAULT_NAME = 'best'


def bound(text: str) -> tuple[str, float]:
    """Parse a bound such as ``latency_ms=20`` into a name and a number."""
    name, _, number = text.partition('=')
    try:
        return name, check_float(name, float(number), 0)
    except ValueError:
        raise ArgumentTypeError(f'got {text}, allowed: an estimate and its maximum, such as latency_ms=20') from None


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = Parser(description='Export a searched network from its supernet, or every network of a front.')
    add_config(parser, 'config of the search or of the supernet')
    parser.add_argument('--checkpoint', required=True, help='weights of the supernet')
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument('--arch', metavar='FILE', help='best_arch.json, best_retrained.json or topk.csv:RANK')
    which.add_argument(
        '--front', action='store_true', help='every network of the Pareto front of the search in --work-dir'
    )
    which.add_argument(
        '--within',
        nargs='+',
        type=bound,
        metavar='NAME=MAX',
        help='the best network of the search in --work-dir within these costs, such as latency_ms=20',
    )
    parser.add_argument('--work-dir', metavar='DIR', help='work directory of the search')
    add_storage(parser)
    parser.add_argument('--out-dir', required=True, metavar='DIR', help='folder of the written files')
    parser.add_argument(
        '--name', default=DEFAULT_NAME, help=f'name of the files of one network; default: {DEFAULT_NAME}'
    )
    parser.add_argument('--into', nargs='+', default=[], metavar='CONFIG', help='configs to put the backbone into')
    parser.add_argument(
        '--table', metavar='FILE', help='latency table, whose prediction is compared with a measurement'
    )
    parser.add_argument(
        '--format', choices=tuple(FORMATS), help='also write the network in this format, as mmhybrid export does'
    )
    parser.add_argument(
        '--intervals',
        action='store_true',
        help='with --front of a detector: 95 %% intervals of the box AP over its validation images',
    )
    args = parser.parse_args(argv)
    if args.intervals and not args.front:
        parser.error('--intervals: allowed only with --front')
    if (args.arch is None) != (args.work_dir is not None):
        parser.error('--work-dir: required with --front and --within, not allowed with --arch')
    if args.arch is not None and args.storage is not None:
        parser.error('--storage: not allowed with --arch, which needs no search')
    if args.front and args.name != DEFAULT_NAME:
        parser.error('--name: not allowed with --front, which names each network after its genes')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Export, and print the written files."""
    args = parse_args(argv)
    with ending_on_mistakes():
        check_name('--name', args.name)
        table = None if args.table is None else LatencyTable.load(args.table)
        cfg = load_config(args.config, args.cfg_options)
        if args.intervals:
            check_counts_boxes(cfg)
        result = None if args.arch is not None else search_of(args)
        if result is not None and args.front:
            export_many(build_supernet(cfg, args.checkpoint), cfg, result, table, args)
            return
        wanted = None if result is None else found_by(result.best_within(dict(args.within)), result)
        model = build_supernet(cfg, args.checkpoint)
        found = found_in(model.space, args.arch) if wanted is None else wanted
        export_one(model, cfg, found, table, args)


def search_of(args: Namespace) -> SearchResult:
    """Return the search in ``--work-dir``; raise ValueError if there is none or it evaluated nothing."""
    try:
        result = read_search(args.work_dir, args.storage, args.study_name)
        assert result.best is not None
    except SearchError as error:  # nothing is being searched, so the mistake is in the argument
        raise ValueError(f'{error}') from error
    return result


def export_one(model: OneShot, cfg: Config, found: Found, table: LatencyTable | None, args: Namespace) -> None:
    """Export one network as the command line says."""
    arch = arch_in(model.space, found.arch, 'the search')
    network = take_out(model, cfg, arch)
    paths = write_network(network, cfg, args.out_dir, args.name, found.metrics)
    workload = None if table is None else workload_for(table, cfg)
    predicted = None if table is None else predict_arch(arch, table, workload)
    measured = None if table is None else time_arch(arch, table, REPEATS, workload)
    paths += [write_host_config(network, target, args.out_dir, args.name) for target in args.into]
    paths += [] if args.format is None else [export_beside(Path(args.out_dir), args.name, args.format)]
    for name, value in described(network, found.metrics).items():
        print(f'{name}: {value}')
    if found.latency_ms is not None:
        print(f'latency_ms: {found.latency_ms:.4g}, as the search estimated it at this resolution')
    if table is not None:
        print(f'latency with {table.device.backend}: predicted {predicted}')
        print(f'latency with {table.device.backend}: measured {measured}')
    print(f'difference from the supernet: {network.difference:.1e}')
    for path in paths:
        print(f'written: {path}')


def export_many(model: OneShot, cfg: Config, result: SearchResult, table: LatencyTable | None, args: Namespace) -> None:
    """Export a whole front as the command line says."""
    names = [objective.name for objective in result.trade_off]
    print(f'the front of {" and ".join(names)} among {len(result.evaluated)} of {result.settings.budget} evaluations')
    configs = []
    for found in export_front(model, cfg, result, args.out_dir, args.into, table, REPEATS, args.format):
        configs.append(Path(args.out_dir, found.name, f'{found.name}.py'))
        figures = [f'{name} {found.candidate.numbers[name]:.4g}' for name in names]
        if found.measured is not None:
            figures.append(f'measured {found.measured}')
        print(f'{found.name}: {", ".join(figures)}')
    print(f'written: {Path(args.out_dir, FRONT_FILE)}')
    if args.intervals:
        intervals = box_intervals(configs)
        for line in intervals.told():
            print(line)
        print(f'written: {intervals.write(args.out_dir)}')
