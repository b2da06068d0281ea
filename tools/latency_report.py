"""How well a latency table, or the analytic model, predicts networks it has not seen.

    python tools/latency_report.py TABLE [--analytic] [--json FILE] [--png FILE] [--breakdown NAME ...]

Random networks of the table's space are measured as the table was, and predicted by it, by a straight line fitted to
MACs, and by its parts timed one by one. Figures ending in ``_drift`` are corrected by how fast the machine runs some
networks of the table now. ``--breakdown`` names timm or mmpretrain models, or ``smallest`` and ``largest`` for those of
the space, and prints the time of each by kind of operator. ``--analytic`` judges the analytic model instead, which it
calibrates first.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from mmhybrid.engine import cli
from mmhybrid.estimation import accuracy as judge
from mmhybrid.estimation.analytic import AnalyticLatency, calibrate
from mmhybrid.estimation.backends import DTYPES
from mmhybrid.estimation.breakdown import KINDS, operator_breakdown
from mmhybrid.estimation.estimator import Estimator, PartCosts
from mmhybrid.estimation.latency_table import LatencyTable
from mmhybrid.estimation.profiler import Plan, build_network
from mmhybrid.registry import SEARCH_SPACES
from mmhybrid.utils.checks import bad_value, check_int
from mmhybrid.utils.files import check_target, write_json


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """The command line."""
    parser = ArgumentParser(description='How well latencies of networks are predicted that were not used for it.')
    parser.add_argument('table', help='file that tools/profile_latency.py wrote')
    parser.add_argument('--networks', type=int, default=42, metavar='N', help='held out; default: 42')
    parser.add_argument('--repeats', type=int, default=10, metavar='N', help='timed rounds; default: 10')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--analytic', action='store_true', help='judge the analytic model')
    parser.add_argument('--breakdown', nargs='*', default=[], metavar='NAME', help='models to take apart')
    parser.add_argument('--json', metavar='FILE', help='where to write the figures')
    parser.add_argument('--png', metavar='FILE', help='where to draw the predictions')
    return parser.parse_args(argv)


def judge_table(args: Namespace, table: LatencyTable, costs: PartCosts) -> dict[str, float]:
    """Measure, predict, compare; draw if asked to."""
    device, plan = table.device, Plan(repeats=args.repeats, seed=args.seed)
    model = AnalyticLatency(calibrate(device), device.batch) if args.analytic else table
    estimator = Estimator(costs.space, costs.backbone, costs.input_size, costs.num_classes, model)
    held_out = judge.measure_held_out(costs, table, args.networks, plan)
    estimates, bounds = judge.predict(estimator, held_out.archs)
    measured = held_out.milliseconds
    others = {
        'macs_line': judge.macs_line(estimator, table.measurements, held_out.archs),
        'alone': judge.parts_alone(costs, table, held_out.archs, plan),
    }
    figures = judge.accuracy(estimates, measured)
    corrected = judge.accuracy(estimates, measured * held_out.drift)
    figures |= {f'{name}_drift': value for name, value in corrected.items()}
    for other, predicted in others.items():
        figures |= {f'{other}.{name}': value for name, value in judge.accuracy(predicted, measured).items()}
    if args.png is not None:
        title = f'{costs.backbone["type"]}, {device.backend}, {device.dtype}, {device.name}, {device.threads} threads'
        judge.scatter(args.png, measured, {'analytic' if args.analytic else 'table': estimates, **others}, title)
    per_side = [sum(costs.side(m.arch) == side for m in table.measurements) for side in table.resolutions]
    return {
        'measurements': max(per_side),
        'measurements_in_all': sum(per_side),
        'held_out': len(measured),
        **figures,
        'below_upper': float((measured <= bounds).mean()),
        'drift': held_out.drift,
        'noise': held_out.spread,
    }


def build_named(name: str, costs: PartCosts) -> tuple[nn.Module, int]:
    """A model and the side of its images."""
    if name in ('smallest', 'largest'):
        arch = getattr(costs.space, name)()
        return build_network(costs, arch), costs.side(arch)
    import timm

    if timm.is_model(name):
        model = timm.create_model(name)
        return model, model.pretrained_cfg['input_size'][-1]
    from mmpretrain import get_model, list_models

    if not list_models(name):
        raise bad_value('--breakdown', name, 'smallest, largest, or a model of timm or mmpretrain')
    return get_model(name), 224


def print_breakdown(names: Sequence[str], table: LatencyTable, costs: PartCosts) -> None:
    """A row for each model, a column for each kind of operator."""
    rows = Table(title='milliseconds by kind of operator')
    for column in ('model', *KINDS, 'sum'):
        rows.add_column(column)
    for name in names:
        model, side = build_named(name, costs)
        place = {'device': table.device.device, 'dtype': DTYPES[table.device.dtype]}
        times = operator_breakdown(model.to(**place), torch.rand(table.device.batch, 3, side, side).to(**place))
        rows.add_row(name, *(f'{times[kind]:.2f}' for kind in KINDS), f'{sum(times.values()):.2f}')
    Console(width=120).print(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Judge, print and write."""
    args = parse_args(argv)
    with cli.ending_on_mistakes():
        check_int('--networks', args.networks, 2)
        for path in (args.json, args.png):
            if path is not None:
                check_target(path)
        table = LatencyTable.load(args.table)
        table.warn_if_elsewhere()
        torch.set_num_threads(table.device.threads)
        space = SEARCH_SPACES.build(dict(table.space))
        costs = PartCosts(space, table.backbone, table.input_size, table.num_classes)
        figures = judge_table(args, table, costs)
        for name, value in figures.items():
            print(f'{name}: {value:.4g}')
        if args.breakdown:
            print_breakdown(args.breakdown, table, costs)
        if args.json is not None:
            write_json(args.json, {**figures, 'table': args.table, 'device': vars(table.device)})


if __name__ == '__main__':
    main()
