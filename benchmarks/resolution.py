"""Processor time and peak memory of a forward pass by image size, for GLNets beside a Swin and a ViT.

    python benchmarks/resolution.py [--models GLNet-4g swin_tiny... ] [--sizes 224 384 768] [--json FILE]

The cost of GLMix is claimed to be proportional to the number of pixels (GLNet, section 3). For each two consecutive
sizes the exponent is the log of the ratio of times over the log of the ratio of pixels: 1 if time is proportional to
the number of pixels, 2 if to its square. Its 95 % interval is over the rounds. Networks run in inference mode on one
image with one thread, whose own processor time counts. Memory is how much more the process has at its peak than before
the pass, weights excluded; it is measured in a process of its own (Linux only).
"""

import math
import multiprocessing
import statistics
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from _common import Figures, add_json_argument, describe_machine, positive, require

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

throughput = require('throughput')  # first: it imports mmhybrid before torchvision
from mmhybrid.counting.complexity import count_complexity  # noqa: E402
from mmhybrid.latency.memory import kept_memory  # noqa: E402
from mmhybrid.models.build import on_meta  # noqa: E402
from mmhybrid.utils.files import write_json  # noqa: E402
from mmhybrid.utils.statistics import bootstrap_interval  # noqa: E402

MODELS = ('GLNet-stl', 'GLNet-4g', 'GLNet-9g', 'GLNet-16g', throughput.REFERENCE, 'deit_small_patch16_224')
SIZES = (224, 384, 512, 768, 1024, 1536)
MEMORY = Path('/proc/self')
MIB, WARM = 2**20, 64


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = ArgumentParser(description='Processor time and peak memory of a forward pass by image size.')
    parser.add_argument('--models', nargs='+', choices=throughput.SIZES, default=list(MODELS), metavar='NAME')
    parser.add_argument(
        '--sizes', nargs='+', type=positive, default=list(SIZES), metavar='N', help='image sizes in pixels a side'
    )
    parser.add_argument('--repeats', type=positive, default=5, metavar='N', help='number of timed rounds; default: 5')
    add_json_argument(parser)
    args = parser.parse_args(argv)
    if args.sizes != sorted(set(args.sizes)):
        parser.error(f'--sizes: got {args.sizes}, allowed: growing sizes')
    return args


@torch.inference_mode()
def milliseconds(args: Namespace, size: int) -> dict[str, list[float]]:
    """Milliseconds of processor time of each network in each round; a round runs each of them once."""
    found: dict[str, list[float]] = {name: [] for name in args.models}
    models = {name: throughput.build(name, size) for name in args.models}
    images = torch.randn(1, 3, size, size)
    with kept_memory():
        for number in track(range(-1, args.repeats), description=f'{size} px', transient=True):
            for name, model in models.items():
                began = time.thread_time()
                model(images)
                if number >= 0:
                    found[name].append(1e3 * (time.thread_time() - began))
    return found


def macs(name: str, size: int) -> int:
    """Multiply-accumulates of a forward pass, with the products of attention."""
    with on_meta():
        model = throughput.build(name, size)
    return count_complexity(model, (3, size, size)).macs


def peak_mib(name: str, size: int) -> float | None:
    """Peak memory of a forward pass in MiB; None where the system does not tell it."""
    if not (MEMORY / 'clear_refs').exists():
        return None
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        return pool.apply(_peak_mib, (name, size))


@torch.inference_mode()
def _peak_mib(name: str, size: int) -> float:
    torch.set_num_threads(1)
    throughput.build(name, WARM)(torch.randn(1, 3, WARM, WARM))  # so that code is loaded before
    model, images = throughput.build(name, size), torch.randn(1, 3, size, size)
    (MEMORY / 'clear_refs').write_text('5')  # resets the peak
    before = _status('VmRSS')
    model(images)
    return (_status('VmHWM') - before) / MIB


def _status(field: str) -> int:
    lines = (MEMORY / 'status').read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f'{field}:')).split()[1])


def exponent(sizes: tuple[int, int], times: tuple[Sequence[float], Sequence[float]]) -> tuple[float, float, float]:
    """The exponent by which time grows with the number of pixels, and its 95 % interval over the rounds."""
    pixels = 2 * math.log(sizes[1] / sizes[0])

    def of_rounds(rounds: Sequence[int]) -> float:
        small, large = (statistics.median(values[i] for i in rounds) for values in times)
        return math.log(large / small) / pixels

    return (of_rounds(range(len(times[0]))), *bootstrap_interval(of_rounds, len(times[0]), 0))


def measure(args: Namespace) -> Figures:
    """Figures of all networks and sizes."""
    figures: Figures = {}
    times: dict[int, Mapping[str, list[float]]] = {}
    for size in args.sizes:
        times[size] = milliseconds(args, size)
        for name, values in times[size].items():
            figures[f'{name}.{size}.ms'] = statistics.median(values)
            figures[f'{name}.{size}.macs_g'] = macs(name, size) / 1e9
            peak = peak_mib(name, size)
            if peak is not None:
                figures[f'{name}.{size}.peak_mib'] = peak
    for small, large in pairwise(args.sizes):
        for name in args.models:
            found = exponent((small, large), (times[small][name], times[large][name]))
            for kind, value in zip(('exponent', 'exponent_low', 'exponent_high'), found, strict=True):
                figures[f'{name}.{large}.{kind}'] = value
    return figures


def make_table(args: Namespace, figures: Figures) -> Table:
    """A row for each network, a column for each size: milliseconds, exponent, MiB."""
    table = Table('network', *(f'{size} px' for size in args.sizes), title='ms, exponent of the pixels, MiB')
    for name in args.models:
        cells = []
        for size in args.sizes:
            kinds = {'ms': '.0f', 'exponent': '.2f', 'peak_mib': '.0f'}
            known = ((figures.get(f'{name}.{size}.{kind}'), form) for kind, form in kinds.items())
            cells.append(' | '.join('-' if value is None else f'{value:{form}}' for value, form in known))
        table.add_row(name, *cells)
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    args = parse_args(argv)
    require('timm')
    torch.set_num_threads(1)
    figures = {**describe_machine('cpu'), 'setting.repeats': args.repeats, **measure(args)}
    Console(width=140).print(make_table(args, figures))
    if args.json is not None:
        write_json(args.json, figures)


if __name__ == '__main__':
    main()
