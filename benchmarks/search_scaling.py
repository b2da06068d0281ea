"""Candidates per minute of a search with one rank and with two, and the time that is not evaluation.

    python benchmarks/search_scaling.py [--candidates N] [--repeats N] [--json FILE]

The search is that of configs/demo/autovit_search.py on generated images with random weights: evaluations are real, but
scores mean nothing. Every round runs it under torchrun with one rank and then with two, each with one thread and no
loader processes. Time is measured from the first proposal to the last stored candidate. The parts of the space are
counted once before, which takes ``parts_s`` seconds however long the search is.

``speedup_2_ranks`` is the median of the ratios within rounds. ``proposal_share`` is the share of one rank's time that
is not evaluation (proposing, estimating, checking constraints, writing), ``proposal_ms`` the same time for each
candidate.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path

from _common import Figures, add_json_argument, describe_machine, median_ratio, positive, require

import torch
from rich.progress import track

require('mmpretrain')
from _search import load_search, make_searcher  # noqa: E402
from mmengine.dist import barrier, get_rank  # noqa: E402

from mmhybrid.apis.configs import load_config  # noqa: E402
from mmhybrid.datasets.demo_data import make_demo_data  # noqa: E402
from mmhybrid.models.build import build_model  # noqa: E402
from mmhybrid.search.evaluation import Evaluate  # noqa: E402
from mmhybrid.space import Arch  # noqa: E402
from mmhybrid.utils.files import write_json  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs' / 'demo' / 'autovit_search.py'
WORLD_SIZES = (1, 2)
SAMPLES = 1000  # so many networks have every part of the space
WEIGHTS, TIMES = 'supernet.pth', 'times.json'


class Stopwatch:
    """Evaluates archs, and adds up the time that this takes."""

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate
        self.seconds = 0.0

    def __call__(self, arch: Arch) -> Mapping[str, float]:
        """The metrics of ``arch``."""
        start = time.perf_counter()
        metrics = self._evaluate(arch)
        self.seconds += time.perf_counter() - start
        return metrics


def prepare(folder: Path) -> None:
    """Make images and weights for all runs."""
    make_demo_data(folder / 'data', num_train=720, num_val=20, size=128, seed=0)
    torch.manual_seed(0)
    model = build_model(load_config(str(CONFIG)))
    torch.save({'state_dict': model.state_dict()}, folder / WEIGHTS)


def launch(folder: Path, world_size: int, candidates: int) -> dict[str, float]:
    """Run a search under torchrun, and return what rank 0 measured."""
    with tempfile.TemporaryDirectory(dir=folder) as work_dir:
        command = ['bash', str(ROOT / 'tools/torchrun.sh'), '--standalone', f'--nproc-per-node={world_size}']
        command += [__file__, '--rank-of', str(folder), '--work-dir', work_dir, '--candidates', str(candidates)]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])  # of this Python
        environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PATH': path}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(f'the search with {world_size} ranks failed:\n{done.stderr}')
        times: dict[str, float] = json.loads(Path(work_dir, TIMES).read_text())
        return times


def run_rank(folder: Path, work_dir: str, candidates: int) -> None:
    """Run the search of one rank."""
    torch.set_num_threads(1)
    root = str(folder / 'data' / 'imagenet')
    options = {
        'val_dataloader.num_workers': 0,
        'val_dataloader.persistent_workers': False,
        'val_dataloader.dataset.data_root': root,
        'test_dataloader.dataset.data_root': root,
        'search_cfg.calibration.dataset.data_root': root,
        'search_cfg.calibration.num_images': 512,
        'search_cfg.stages.fine.budget': candidates,
    }
    loop = load_search(CONFIG, str(folder / WEIGHTS), work_dir, options, launcher='pytorch')
    space, rng = loop.settings.space, random.Random(0)
    loop.scorer(space.largest())  # the first evaluation is slower
    start = time.perf_counter()
    for _ in range(SAMPLES):
        loop.estimate(space.sample(rng))
    parts_s = time.perf_counter() - start
    stopwatch = Stopwatch(loop.scorer)
    searcher = make_searcher(loop, loop.settings, stopwatch, work_dir)
    barrier()
    start = time.perf_counter()
    result = searcher.run()
    seconds = time.perf_counter() - start
    if get_rank() == 0:
        assert len(result.evaluated) == candidates
        write_json(Path(work_dir, TIMES), {'seconds': seconds, 'evaluating': stopwatch.seconds, 'parts_s': parts_s})


def measure(folder: Path, candidates: int, repeats: int) -> Figures:
    """Run all searches, and return the figures."""
    prepare(folder)
    runs: dict[int, list[dict[str, float]]] = {size: [] for size in WORLD_SIZES}
    for _ in track(range(repeats), description='searching', transient=True):
        for size, found in runs.items():
            found.append(launch(folder, size, candidates))
    alone, both = ([run['seconds'] for run in runs[size]] for size in WORLD_SIZES)
    rest = [run['seconds'] - run['evaluating'] for run in runs[1]]
    return {
        'speedup_2_ranks': median_ratio(alone, both),
        'proposal_share': median_ratio(rest, alone),
        'proposal_ms': statistics.median(rest) / candidates * 1000,
        'parts_s': statistics.median(run['parts_s'] for run in runs[1]),
        'candidates_per_minute.1_rank': candidates / statistics.median(alone) * 60,
        'candidates_per_minute.2_ranks': candidates / statistics.median(both) * 60,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = ArgumentParser(description='Candidates per minute of a search with one rank and with two.')
    parser.add_argument(
        '--candidates', type=positive, default=48, metavar='N', help='number of candidates of a search; default: 48'
    )
    parser.add_argument('--repeats', type=positive, default=3, metavar='N', help='number of rounds; default: 3')
    add_json_argument(parser)
    own = parser.add_argument_group('arguments of a rank, set by the program itself')
    own.add_argument('--rank-of', type=Path, metavar='FOLDER')
    own.add_argument('--work-dir', metavar='FOLDER')
    args = parser.parse_args(argv)
    if args.rank_of is not None:
        run_rank(args.rank_of, args.work_dir, args.candidates)
        return
    torch.set_num_threads(1)
    machine = describe_machine('cpu')
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), args.candidates, args.repeats)
    for name, value in figures.items():
        print(f'{name}: {value:.4g}')
    if args.json is not None:
        setting = {'setting.candidates': args.candidates, 'setting.repeats': args.repeats}
        write_json(args.json, {**figures, **setting, **machine})


if __name__ == '__main__':
    main()
