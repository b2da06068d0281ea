"""Error of latency tables and of fitted models against the number of measured networks.

    python benchmarks/latency_measurements.py CONFIG [--backend onnxruntime] [--resolutions 256] [--json FILE]

All networks are measured in the same rounds: those of a table (for one or more resolutions), those of a fitted model,
and ``--held-out`` random ones. Table and model are judged on the latter, each when it has the first 6, 12, 24, ... of
its networks. A table has no figures until its networks have all parts of the held-out ones.
"""

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from _common import Figures, add_json_argument, describe_machine, positive

import numpy as np
from rich.console import Console
from rich.table import Table

from mmhybrid.apis.configs import load_config
from mmhybrid.commands.shared.mistakes import ending_on_mistakes
from mmhybrid.counting.workload import Workload
from mmhybrid.latency.design import choose_in_turn, choose_others
from mmhybrid.latency.devices import Device
from mmhybrid.latency.fit import Prior, fit_parts
from mmhybrid.latency.fitted import choose_archs, features_of, fit_prices
from mmhybrid.latency.held_out import prediction_errors
from mmhybrid.latency.rounds import Measurement
from mmhybrid.latency.timing import Plan, measure
from mmhybrid.space import Arch
from mmhybrid.utils.files import write_json

FEWEST = 6
KINDS = ('within_10pct', 'mape', 'bias', 'kendall_tau')


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = ArgumentParser(description='Error of predicted latencies against the number of measured networks.')
    parser.add_argument('config', help='config of a supernet')
    parser.add_argument('--backend', default='eager', metavar='NAME')
    parser.add_argument(
        '--resolutions', type=positive, nargs='+', metavar='N', help='resolutions of the space; default: all'
    )
    parser.add_argument(
        '--networks', type=positive, default=90, metavar='N', help='number for a table, and for a model'
    )
    parser.add_argument(
        '--held-out', type=positive, default=40, metavar='N', help='number of held-out networks; default: 40'
    )
    parser.add_argument('--repeats', type=positive, default=10, metavar='N', help='number of timed rounds; default: 10')
    parser.add_argument(
        '--input-size', type=positive, default=224, metavar='N', help='pixels, if archs have no resolution'
    )
    add_json_argument(parser)
    return parser.parse_args(argv)


def sizes(most: int) -> list[int]:
    """The numbers of networks: 6, 12, 24, ... below ``most``, and ``most``."""
    return [*(FEWEST * 2**i for i in range(most) if FEWEST * 2**i < most), most]


def by_table(workload: Workload, networks: Sequence[Measurement], archs: Sequence[Arch]) -> np.ndarray | None:
    """Latencies of ``archs`` by a table of these networks; None if it lacks a part."""
    keys, counts = workload.composition([Arch(network.arch) for network in networks])
    needed, _ = workload.composition(archs)
    if not set(needed) <= set(keys):
        return None
    ms, stds = (np.array([getattr(network, name) for network in networks]) for name in ('ms', 'spread'))
    parts = fit_parts(counts, ms, stds, Prior.of_parts(workload, keys, 1)).latencies
    predicted: np.ndarray = workload.count_matrix(archs, keys) @ parts
    return predicted


def by_model(workload: Workload, networks: Sequence[Measurement], archs: Sequence[Arch]) -> np.ndarray:
    """Latencies of ``archs`` by a model fitted to these networks."""
    known = [Arch(network.arch) for network in networks]
    predicted: np.ndarray = features_of(workload, archs, 1) @ fit_prices(features_of(workload, known, 1), networks)
    return predicted


def judge(args: Namespace) -> Figures:
    """Measure, and judge tables and models on the held-out networks."""
    cfg = load_config(args.config)
    workload = Workload.of_model(cfg.model, None, cfg.get('default_scope'), args.input_size)
    if args.resolutions is not None:
        workload = workload.restrict({'resolution': args.resolutions})
    device = Device.here('cpu', args.backend, 'float32', 1, 1, 'thread')
    plan = Plan(networks=args.networks, repeats=args.repeats)
    chosen = {'table': choose_in_turn(workload, plan), 'model': choose_archs(workload, args.networks, 1, 0)}
    known = {arch for group in chosen.values() for arch in group}
    per_size = math.ceil(args.held_out / len(workload.sizes()))
    archs = [arch for size in workload.sizes() for arch in choose_others(workload, size, per_size, known, 0)]
    everything = list(dict.fromkeys([*chosen['table'], *chosen['model'], *archs]))
    measured = dict(zip(everything, measure(workload, everything, device.open(), 1, plan), strict=True))
    truth = np.array([measured[arch].ms for arch in archs])
    figures: Figures = {'largest_ms': float(truth.max()), 'smallest_ms': float(truth.min())}
    for kind, predict in (('table', by_table), ('model', by_model)):
        for count in sizes(len(chosen[kind])):
            predicted = predict(workload, [measured[arch] for arch in chosen[kind][:count]], archs)
            if predicted is not None:
                found = prediction_errors(predicted, truth)
                figures |= {f'{kind}.{count}.{name}': value for name, value in found.items()}
    return figures


def make_table(figures: Figures) -> Table:
    """A row for each prediction."""
    table = Table('prediction', 'networks', *KINDS)
    for kind, count in dict.fromkeys(tuple(name.split('.')[:2]) for name in figures if name.endswith('.mape')):
        table.add_row(kind, count, *(f'{figures[f"{kind}.{count}.{name}"]:.3f}' for name in KINDS))
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    args = parse_args(argv)
    with ending_on_mistakes():
        figures = judge(args)
        Console().print(make_table(figures))
        if args.json is not None:
            setting = {f'setting.{name}': getattr(args, name) for name in ('config', 'backend', 'held_out', 'repeats')}
            write_json(args.json, {**describe_machine('cpu'), **setting, **figures})


if __name__ == '__main__':
    main()
