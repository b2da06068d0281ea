"""How many new architectures the estimator estimates per second: parameters, MACs and table latency.

    python benchmarks/estimator_speed.py [--archs N] [--json FILE]

It runs on one core. Every architecture is new to the estimator, and the time includes counting each part when it comes
up first. Figures are given for each space; ``archs_per_s`` is the lowest of them.
"""

import random
import time
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Sequence

from _common import Figures, add_json_argument, describe_machine, positive

import torch

from mmhybrid.counting.estimator import Estimator
from mmhybrid.counting.workload import Workload
from mmhybrid.latency.devices import Device
from mmhybrid.latency.table import Entry, LatencyTable, Uncertainty
from mmhybrid.space import AutoViTSpace, GLiTSpace, GLNetSpace, SearchSpace
from mmhybrid.utils.files import write_json

SPACES: dict[str, tuple[SearchSpace, int | None]] = {
    'AutoViT': (AutoViTSpace(table='xxs'), None),
    'GLiT': (GLiTSpace(), 224),
    'GLNet': (GLNetSpace(), 224),
}


def measure(name: str, count: int) -> float:
    """Estimated architectures per second."""
    space, input_size = SPACES[name]
    rng = random.Random(0)
    archs = list(dict.fromkeys(space.sample(rng) for _ in range(count)))
    device = Device.here('cpu', 'eager', 'float32', 1, 1)
    # the values of the entries do not change the time
    entries = defaultdict(lambda: Entry(1.0, 0.1, 10))
    workload = Workload(space, {'type': f'mmhybrid.{name}'}, input_size, 1000)
    uncertainty = Uncertainty(residual=0.01, shrink=0.3, repeatability=0.02, speed_spread=0.02)
    table = LatencyTable(workload=workload.to_config(), device=device, uncertainty=uncertainty, entries=entries)
    estimator = Estimator(workload, table)
    start = time.perf_counter()
    for arch in archs:
        estimator(arch)
    return len(archs) / (time.perf_counter() - start)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = ArgumentParser(description='How many new architectures the estimator estimates per second.')
    parser.add_argument(
        '--archs', type=positive, default=50_000, metavar='N', help='number of archs of each space; default: 50000'
    )
    add_json_argument(parser)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    rates = {name: measure(name, args.archs) for name in SPACES}
    for name, rate in rates.items():
        print(f'{name}: {rate:,.0f} archs/s')
    figures: Figures = {'archs_per_s': min(rates.values()), **{f'archs_per_s.{name}': r for name, r in rates.items()}}
    if args.json is not None:
        write_json(args.json, {**figures, 'archs': args.archs, **describe_machine('cpu')})


if __name__ == '__main__':
    main()
