"""Compares random, evolutionary and coarse-to-fine search with equally many evaluations over one trained supernet.

    python benchmarks/search_comparison.py CONFIG --checkpoint FILE [--seeds N] [--evaluations N] [--json FILE]

Space, first objective, constraints, data and calibration are those of CONFIG, such as configs/demo/autovit_search.py.
For each seed there are a random search, evolution, a coarse-to-fine search, and a coarse-to-fine search with fewer
evaluations (``--fewer``). The score of a network does not depend on the search, so it is kept in ``--scores`` and used
again by all seeds and searches; an interrupted run continues by the same command.

The figures of a search are the best score and the hypervolume (score against MACs, as a share of the box between the
worst and the best values of all searches), each as its mean over the seeds with the 95 % bootstrap interval.
``ahead_of_random`` is the best score minus that of random search with the same seed.
"""

import hashlib
import json
import os
import random
import statistics
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from _common import Figures, add_json_argument, describe_machine, positive, require

require('mmpretrain')
from _search import load_search, make_searcher  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from mmhybrid.commands.shared.arguments import add_cfg_options  # noqa: E402
from mmhybrid.commands.shared.mistakes import ending_on_mistakes  # noqa: E402
from mmhybrid.search import (  # noqa: E402
    BlockEvolution,
    Evolution,
    Objective,
    RandomSampler,
    SearchError,
    SearchResult,
    SearchSettings,
    Skeletons,
    Stage,
    hypervolume,
)
from mmhybrid.search.evaluation import Evaluate  # noqa: E402
from mmhybrid.space import Arch  # noqa: E402
from mmhybrid.utils.files import first_difference, plain, write_json  # noqa: E402

COST = Objective('macs_m', 'minimize')
RESAMPLES = 10_000
RANDOM, FEWER = 'random', 'coarse_to_fine_fewer'


class Remembered:
    """Computes each score once, and keeps it in a file with a line for each network.

    Args:
        evaluate: Function that scores an arch.
        path: Path of the file; its first line says on what the scores depend.
        origin: What the scores depend on.

    Raises:
        ValueError: If the scores in the file depend on something else.
    """

    def __init__(self, evaluate: Evaluate, path: Path, origin: Mapping[str, Any]) -> None:
        self._evaluate = evaluate
        self._known: dict[Arch, dict[str, float]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size:
            first, *lines = path.read_text().splitlines(keepends=True)
            if difference := first_difference(json.loads(first), origin):
                raise ValueError(f'{path}: holds scores of something else: {difference}')
            whole = [line for line in lines if line.endswith('\n')]
            self._known = {Arch(record['arch']): record['metrics'] for record in map(json.loads, whole)}
            os.truncate(path, len(''.join([first, *whole]).encode()))  # without a line that was not written to its end
        else:
            path.write_text(json.dumps(origin) + '\n')
        self._file = path.open('a')

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        """The metrics of ``arch``."""
        if arch not in self._known:
            self._known[arch] = dict(self._evaluate(arch))
            self._file.write(json.dumps({'arch': dict(arch), 'metrics': self._known[arch]}) + '\n')
            self._file.flush()
        return self._known[arch]


def searches(args: Namespace) -> dict[str, list[Stage]]:
    """The stages of each search."""

    def coarse_to_fine(evaluations: int) -> list[Stage]:
        coarse = Stage('coarse', RandomSampler(), args.samples, args.samples, rank_by=Objective(COST.name))
        skeletons = Skeletons('coarse', args.population)
        return [coarse, Stage('fine', BlockEvolution(), evaluations, args.population, skeletons=skeletons)]

    return {
        RANDOM: [Stage('random', RandomSampler(), args.evaluations, args.population)],
        'evolution': [Stage('evolution', Evolution(), args.evaluations, args.population)],
        'coarse_to_fine': coarse_to_fine(args.evaluations),
        FEWER: coarse_to_fine(args.fewer),
    }


def run_all(args: Namespace) -> dict[str, list[SearchResult]]:
    """Run each search with each seed, and return the results by search."""
    with tempfile.TemporaryDirectory() as folder:
        loop = load_search(args.config, args.checkpoint, folder, args.cfg_options)
        origin = {
            'checkpoint': hashlib.sha256(Path(args.checkpoint).read_bytes()).hexdigest(),
            'space': loop.settings.space.to_config(),
            'dataset': loop.runner.cfg.val_dataloader.dataset,
            'calibration': loop.runner.cfg.search_cfg.calibration,
        }
        evaluate = Remembered(loop.scorer, args.scores, plain(origin))
        results: dict[str, list[SearchResult]] = {}
        for name, stages in searches(args).items():
            results[name] = []
            for seed in range(args.seeds):
                settings: SearchSettings = replace(
                    loop.settings, stages=stages, objectives=loop.settings.objectives[:1], seed=seed
                )
                result = make_searcher(loop, settings, evaluate, Path(folder, name, str(seed))).run()
                results[name].append(result)
                score = result.best.numbers[settings.objectives[0].name]
                print(f'{name}, seed {seed}: best {score:.4g} of {len(result.evaluated)}', flush=True)
    return results


def summarise(results: Mapping[str, Sequence[SearchResult]]) -> Figures:
    """The mean of each figure over the seeds, and its bootstrap interval."""
    objectives = [*results[RANDOM][0].settings.objectives, COST]
    losses = {
        name: [[candidate.losses(objectives) for candidate in result.top()] for result in many]
        for name, many in results.items()
    }
    met = [row for runs in losses.values() for rows in runs for row in rows]
    worst, best = ([choose(column) for column in zip(*met, strict=True)] for choose in (max, min))
    box = hypervolume([best], worst) or 1.0
    sign = objectives[0].sign
    figures: Figures = {}
    for name, runs in losses.items():
        bests = [sign * rows[0][0] for rows in runs]
        columns = {'best': bests, 'hypervolume': [hypervolume(rows, worst) / box for rows in runs]}
        if name != RANDOM:
            pairs = zip(losses[RANDOM], runs, strict=True)
            columns['ahead_of_random'] = [other[0][0] - own[0][0] for other, own in pairs]
        for column, values in columns.items():
            low, high = interval(values)
            figures |= {f'{name}.{column}': statistics.mean(values)}
            figures |= {f'{name}.{column}.low': low, f'{name}.{column}.high': high}
        figures[f'{name}.evaluations'] = statistics.mean(len(result.evaluated) for result in results[name])
    return figures


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean."""
    rng = random.Random(0)
    means = sorted(statistics.fmean(rng.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES) - 1]


def make_table(figures: Figures) -> Table:
    """A row for each search."""
    table = Table(title='mean over the seeds, bootstrap interval of 95 %')
    columns = ('best', 'hypervolume', 'ahead_of_random')
    table.add_column('search')
    for title in ('evaluations', *columns):
        table.add_column(title.replace('_', ' '), justify='right')
    for name in [key.removesuffix('.evaluations') for key in figures if key.endswith('.evaluations')]:
        cells = [
            '{:.4g} ({:.4g} to {:.4g})'.format(*(figures[f'{name}.{column}{end}'] for end in ('', '.low', '.high')))
            if f'{name}.{column}' in figures
            else '-'
            for column in columns
        ]
        table.add_row(name, f'{figures[f"{name}.evaluations"]:.0f}', *cells)
    return table


def parse_args(argv: Sequence[str] | None) -> Namespace:
    """Parse the command line."""
    parser = ArgumentParser(
        description='Compare random, evolutionary and coarse-to-fine search over a trained supernet.'
    )
    parser.add_argument('config', help='config with a search')
    parser.add_argument('--checkpoint', required=True, help='weights of the supernet')
    parser.add_argument('--seeds', type=positive, default=5, metavar='N', help='number of seeds; default: 5')
    parser.add_argument(
        '--evaluations', type=positive, default=200, metavar='N', help='number of evaluations of a search; default: 200'
    )
    parser.add_argument(
        '--fewer', type=positive, metavar='N', help='number of evaluations of the shorter search; default: half'
    )
    parser.add_argument(
        '--population', type=positive, default=20, metavar='N', help='networks of a generation; default: 20'
    )
    parser.add_argument(
        '--samples',
        type=positive,
        default=1000,
        metavar='N',
        help='networks of the coarse stage, not evaluated; default: 1000',
    )
    parser.add_argument(
        '--scores',
        type=Path,
        default=Path('work_dirs/search_comparison.jsonl'),
        metavar='FILE',
        help='file that keeps the scores',
    )
    add_cfg_options(parser)
    add_json_argument(parser)
    args = parser.parse_args(argv)
    args.fewer = args.fewer or max(args.evaluations // 2, 1)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Search, print and write."""
    args = parse_args(argv)
    with ending_on_mistakes():
        try:
            figures = summarise(run_all(args))
        except SearchError as error:
            raise SystemExit(str(error)) from error
    Console(width=120).print(make_table(figures))
    if args.json is not None:
        names = ('seeds', 'evaluations', 'fewer', 'population', 'samples')
        setting = {f'setting.{name}': getattr(args, name) for name in names}
        write_json(args.json, {**figures, **setting, **describe_machine('cpu')})


if __name__ == '__main__':
    main()
