"""Measure how well a latency table or an analytic model predicts networks that it has not seen.

    mmhybrid latency-report TABLE [--config CONFIG] [--json FILE] [--png FILE] [--breakdown NAME ...] [--model FILE] ...

Random networks of the table's space are measured with the table's device and settings. Their latencies are predicted by
the table, by a straight line fitted to MACs and, on a device that torch knows, by the sum of their parts timed one by
one. For figures that end in ``_drift``, the measurements are corrected by the present speed of the machine, for which
some networks of the table are measured again.

``--breakdown`` names models of timm or mmpretrain, or the ``smallest`` and ``largest`` network of the space. It gives
the latency of each by kind of operator in eager torch and, for a table of ONNX Runtime or OpenVINO, by operator of that
runtime. ``--model`` evaluates an analytic model instead of the table; ``--analytic`` evaluates the table with that
model for the parts it lacks. Tables of whole detectors and segmentors need ``--config``. ``--recorded`` measures
nothing and uses the held-out networks of ``profile-latency --held-out``, which also works for tables of other machines.
"""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import nn

from mmhybrid.apis.configs import load_config
from mmhybrid.commands.shared.arguments import Parser, add_cfg_options, add_imports, check_cfg_options, import_modules
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.counting.estimator import Estimator, LatencyModel
from mmhybrid.counting.workload import Workload
from mmhybrid.latency import held_out as judge
from mmhybrid.latency.backends import DTYPES, Backend, ExportedBackend, backend_class, random_images
from mmhybrid.latency.breakdown import KINDS, build_named, operator_breakdown
from mmhybrid.latency.load import fill, load_model_of, workload_for
from mmhybrid.latency.on_device import image_dtype
from mmhybrid.latency.table import LatencyTable
from mmhybrid.latency.timing import Plan
from mmhybrid.models.input_channels import input_channels
from mmhybrid.utils.checks import bad_value, check_int
from mmhybrid.utils.files import check_target, write_json

# With fewer networks, the share within 10 % is too coarse to be compared with a goal.
ENOUGH_NETWORKS = 40
# Names of the other predictions in the picture.
PANELS = {'macs_line': 'line fitted to MACs', 'alone': 'sum of parts timed alone'}
BREAKDOWN_RUNS = 10
# Smallest share of a network's latency with which an operator is shown.
LEAST_SHARE = 0.005


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = Parser(description='Measure how well the latencies of held-out networks are predicted.')
    parser.add_argument('table', help='file that mmhybrid profile-latency wrote')
    networks = parser.add_mutually_exclusive_group()
    networks.add_argument(
        '--networks', type=int, default=42, metavar='N', help='number of held-out networks; default: 42'
    )
    networks.add_argument(
        '--recorded', action='store_true', help='use the held-out networks in the table, and measure none'
    )
    parser.add_argument('--repeats', type=int, default=10, metavar='N', help='number of timed rounds; default: 10')
    parser.add_argument('--seed', type=int, default=0, help='seed of the choice of networks; default: 0')
    model = parser.add_mutually_exclusive_group()
    model.add_argument('--model', metavar='FILE', help='evaluate this analytic model, on the networks of the table')
    model.add_argument('--analytic', metavar='FILE', help='analytic model for the parts that the table lacks')
    parser.add_argument(
        '--config',
        metavar='CONFIG',
        help='config that the table was measured for; needed for whole detectors or segmentors',
    )
    add_cfg_options(parser)
    add_imports(parser)
    parser.add_argument(
        '--breakdown', nargs='*', default=[], metavar='NAME', help='models whose latency is split by operator'
    )
    parser.add_argument('--json', metavar='FILE', help='where to write the figures')
    parser.add_argument('--png', metavar='FILE', help='where to draw the predictions')
    args = parser.parse_args(argv)
    check_cfg_options(parser, args)
    if args.recorded and args.breakdown:
        parser.error('--breakdown: not allowed with --recorded, which measures nothing')
    return args


def judge_table(
    args: Namespace, table: LatencyTable, workload: Workload, model: LatencyModel
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Predict, measure and compare networks; draw the predictions if asked to.

    Returns:
        The figures, and a dict for each network with its arch, measurement, prediction and upper bound.
    """
    device, plan = table.device, Plan(repeats=args.repeats, seed=args.seed)
    estimator = Estimator(workload, model)
    known = judge.recorded(table) if args.recorded else None
    archs = known.archs if known else judge.choose_held_out(workload, table, args.networks, args.seed)
    # predict before measuring, since a part that the table lacks raises here
    estimates, bounds = judge.predict(estimator, archs)
    held_out = known or judge.measure_held_out(workload, table, archs, plan)
    measured = held_out.milliseconds
    others = {'macs_line': judge.macs_line(estimator, table.measurements, archs)}
    if known is None and device.device in Backend.devices and table.workload.around is None:
        others['alone'] = judge.parts_alone(workload, table, archs, plan)
    figures = judge.prediction_errors(estimates, measured)
    if known is None:
        corrected = judge.prediction_errors(estimates, measured * held_out.drift)
        figures |= {f'{name}_drift': value for name, value in corrected.items()}
    for other, predicted in others.items():
        figures |= {f'{other}.{name}': value for name, value in judge.prediction_errors(predicted, measured).items()}
    if args.png is not None:
        threads = '1 thread' if device.threads == 1 else f'{device.threads} threads'
        title = f'{workload.backbone["type"]}, {device.backend}, {device.dtype}, {device.name}, {threads}'
        judged = 'table' if args.model is None else 'analytic model'
        judge.scatter(args.png, measured, {judged: estimates} | {PANELS[name]: others[name] for name in others}, title)
    networks = [
        {'arch': dict(arch), 'measured_ms': ms, 'estimated_ms': estimate, 'upper_ms': bound}
        for arch, ms, estimate, bound in zip(archs, measured.tolist(), estimates.tolist(), bounds.tolist(), strict=True)
    ]
    per_size = [sum(workload.size(m.arch) == size for m in table.measurements) for size in table.resolutions]
    figures = {
        'measurements': max(per_size),
        'measurements_in_all': sum(per_size),
        'held_out': len(measured),
        **figures,
        'below_upper': float((measured <= bounds).mean()),
        'upper_over_estimate': float((bounds / estimates).mean()),
        'drift': held_out.drift,
        'drift_spread': held_out.drift_spread,
        'noise': held_out.noise,
    }
    return figures, networks


def take_apart(
    models: Mapping[str, tuple[nn.Module, tuple[int, int]]], table: LatencyTable
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """Return the latencies of models in ms, by kind of operator in eager torch and by operator of the table's runtime.

    Each model comes with the height and width of its images. The entry ``measured`` is the latency of the whole network
    with the table's backend and clock.
    """
    device = table.device
    backend = device.open()
    place = {'device': backend.device, 'dtype': DTYPES[image_dtype(device.dtype)]}
    found, by_runtime = {}, {}
    with backend.running():
        for name, (model, shape) in models.items():
            images = random_images(device.batch, input_channels(model), *shape).to(**place)
            kinds = operator_breakdown(model.to(**place), images)
            job = backend.build(model, images)
            times = backend.times(job, 2 + BREAKDOWN_RUNS)[2:]
            found[name] = {**kinds, 'measured': median(times)}
            if isinstance(backend, ExportedBackend):
                by_runtime[name] = backend.operators(model, images, BREAKDOWN_RUNS)
    return found, by_runtime


def print_breakdown(breakdown: Mapping[str, Mapping[str, float]]) -> None:
    """Print a row for each model and a column for each kind of operator."""
    rows = Table(title='milliseconds by kind of operator in eager torch; measured: whole model, backend of the table')
    for column in ('model', *KINDS, 'sum', 'measured'):
        rows.add_column(column)
    for name, times in breakdown.items():
        total = sum(times[kind] for kind in KINDS)
        cells = (*(times[kind] for kind in KINDS), total, times['measured'])
        rows.add_row(name, *(f'{value:.2f}' for value in cells))
    Console(width=120).print(rows)


def print_operators(by_runtime: Mapping[str, Mapping[str, float]], runtime: str) -> None:
    """Print a row for each operator of the runtime and a column for each model, without negligible operators."""
    rows = Table('operator', *by_runtime, title=f'milliseconds by operator of {runtime}, by the wall clock')
    total = {name: sum(times.values()) for name, times in by_runtime.items()}
    for kind in dict.fromkeys(kind for times in by_runtime.values() for kind in times):
        if any(times.get(kind, 0.0) >= LEAST_SHARE * total[name] for name, times in by_runtime.items()):
            rows.add_row(kind, *(f'{times.get(kind, 0.0):.2f}' for times in by_runtime.values()))
    rows.add_row('all', *(f'{value:.2f}' for value in total.values()))
    Console(width=120).print(rows)


def load_model(args: Namespace, table: LatencyTable, workload: Workload) -> LatencyModel:
    """Return the latency model that is evaluated."""
    if args.model is not None:
        return load_model_of(table, args.table, args.model)
    if args.analytic is None:
        return table
    return fill(table, args.table, args.analytic, workload)


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate the predictions, and print and write the figures."""
    args = parse_args(argv)
    with ending_on_mistakes():
        check_int('--networks', args.networks, 2)
        for path in (args.json, args.png):
            if path is not None:
                check_target(path)
        import_modules(args.imports)
        table = LatencyTable.load(args.table)
        if not args.recorded:
            backend_class(table.device.backend)  # fails early, since the backend may need an --import
            table.warn_if_elsewhere()
        cfg = None if args.config is None else load_config(args.config, args.cfg_options)
        workload = workload_for(table, cfg)
        model = load_model(args, table, workload)
        if args.breakdown and table.device.device not in Backend.devices:
            raise bad_value('--breakdown', args.breakdown, f'none, since torch does not run on {table.device.device!r}')
        models = {name: build_named(name, workload) for name in args.breakdown}
        figures, networks = judge_table(args, table, workload, model)
        for name, value in figures.items():
            print(f'{name}: {value:.4g}')
        if len(networks) < ENOUGH_NETWORKS:
            print(f'fewer than {ENOUGH_NETWORKS} held-out networks: the figures are coarse')
        breakdown, by_runtime = take_apart(models, table) if models else ({}, {})
        if breakdown:
            print_breakdown(breakdown)
        if any(by_runtime.values()):
            print_operators(by_runtime, table.device.backend)
        if args.json is not None:
            taken = {f'breakdown.{name}.{kind}': ms for name, kinds in breakdown.items() for kind, ms in kinds.items()}
            taken |= {
                f'operators.{name}.{kind}': ms for name, kinds in by_runtime.items() for kind, ms in kinds.items()
            }
            about = {'table': args.table, 'device': vars(table.device), 'networks': networks}
            write_json(args.json, {**figures, **taken, **about})
