"""Time of a subnet in its supernet over that of the same network alone, with the same weights.

    python benchmarks/supernet_overhead.py [--device cuda] [--batch 8] [--json FILE]

Random subnets of each family run at full size, in every round once in the supernet and once alone. A ratio is the
median over the rounds, that of a family the median over its subnets. A training step is forward, backward and an SGD
step. `fresh` is a training step that builds its subnet first, as the first step with an architecture does.
"""

import random
import statistics
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence

from _common import (
    Figures,
    add_json_argument,
    describe_machine,
    median_ratio,
    positive,
    require,
    synchronizer,
    time_interleaved,
)

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

require('mmcv')
from mmhybrid.models.families import FAMILIES  # noqa: E402
from mmhybrid.models.supernets import Supernet  # noqa: E402
from mmhybrid.registry import MODELS  # noqa: E402
from mmhybrid.utils.files import write_json  # noqa: E402

NAMES = {name.lower(): name for name in FAMILIES}
KINDS = ('forward', 'train', 'fresh')


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = ArgumentParser(description='Time of a subnet in its supernet over that of the same network alone.')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--batch', type=positive, default=8, metavar='N', help='batch size; default: 8')
    parser.add_argument(
        '--size', type=positive, default=224, metavar='N', help='image size in pixels a side; default: 224'
    )
    parser.add_argument('--threads', type=positive, metavar='N', help="number of CPU threads; default: torch's")
    parser.add_argument('--repeats', type=positive, default=10, metavar='N', help='number of timed rounds; default: 10')
    parser.add_argument(
        '--archs', type=positive, default=5, metavar='N', help='number of subnets of each family; default: 5'
    )
    parser.add_argument('--families', nargs='+', choices=NAMES, default=list(NAMES))
    add_json_argument(parser)
    args = parser.parse_args(argv)
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device: got cuda, which this torch does not find')
    return args


def make_forward(model: nn.Module, images: Tensor) -> Callable[[], object]:
    """One forward pass."""

    @torch.inference_mode()
    def job() -> object:
        return model(images)

    return job


def make_step(model: nn.Module, images: Tensor) -> Callable[[], object]:
    """One training step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)

    def job() -> object:
        optimizer.zero_grad()
        torch.stack([out.square().mean() for out in model(images)]).sum().backward()
        return optimizer.step()

    return job


def make_fresh_step(supernet: Supernet, step: Callable[[], object], device: str) -> Callable[[], object]:
    """A training step with a subnet that has to be built."""

    def job() -> object:
        supernet.to(device)  # nothing moves, but a supernet forgets its subnets when it is moved
        return step()

    return job


def measure_family(args: Namespace, family: str) -> dict[str, float]:
    """The median ratios of a family, by kind."""
    torch.manual_seed(0)
    supernet = Supernet(FAMILIES[NAMES[family]].space, {'type': f'mmhybrid.{NAMES[family]}'})
    supernet.to(args.device)
    images = torch.randn(args.batch, 3, args.size, args.size, device=args.device)
    rng, synchronize = random.Random(0), synchronizer(args.device)
    ratios: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(args.archs):
        supernet.set_arch(supernet.space.sample(rng))
        config, weights = supernet.export()
        alone = MODELS.build(config)
        alone.load_state_dict(weights)
        alone.to(args.device)

        supernet.eval(), alone.eval()
        jobs = {'inside': make_forward(supernet, images), 'alone': make_forward(alone, images)}
        seconds = time_interleaved(jobs, args.repeats, synchronize)
        ratios['forward'].append(median_ratio(seconds['inside'], seconds['alone']))

        supernet.train(), alone.train()
        step, step_alone = make_step(supernet, images), make_step(alone, images)
        jobs = {'inside': step, 'alone': step_alone, 'fresh': make_fresh_step(supernet, step, args.device)}
        seconds = time_interleaved(jobs, args.repeats, synchronize)
        ratios['train'].append(median_ratio(seconds['inside'], seconds['alone']))
        ratios['fresh'].append(median_ratio(seconds['fresh'], seconds['alone']))
    return {kind: statistics.median(values) for kind, values in ratios.items()}


def measure(args: Namespace) -> Figures:
    """The ratios of all families, and the medians over the families."""
    families = {family: measure_family(args, family) for family in args.families}
    figures: Figures = {
        f'{family}_{kind}_ratio': ratio for family, ratios in families.items() for kind, ratio in ratios.items()
    }
    for kind in KINDS:
        figures[f'{kind}_ratio_median'] = statistics.median(ratios[kind] for ratios in families.values())
    return figures


def make_table(args: Namespace, figures: Figures) -> Table:
    """A row for each family."""
    setting = f'batch {args.batch}, {args.device}, {torch.get_num_threads()} threads'
    table = Table(title=f'time inside the supernet over time alone\n{setting}')
    table.add_column('family')
    for kind in ('forward', 'training step', 'training step,\nnew subnet'):
        table.add_column(kind, justify='right')
    for family in args.families:
        table.add_row(family, *(f'{figures[f"{family}_{kind}_ratio"]:.3f}' for kind in KINDS))
    table.add_row('median', *(f'{figures[f"{kind}_ratio_median"]:.3f}' for kind in KINDS))
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    args = parse_args(argv)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    machine = describe_machine(args.device)
    figures = measure(args)
    Console(width=100).print(make_table(args, figures))
    if args.json is not None:
        setting = {f'setting.{name}': getattr(args, name) for name in ('batch', 'size', 'repeats', 'archs')}
        write_json(args.json, {**figures, **setting, **machine})


if __name__ == '__main__':
    main()
