"""Processor time of a search for each candidate, apart from estimates and scores, up to ten thousand candidates.

    python benchmarks/search_cost.py [--candidates N] [--objectives N] [--storages NAME ...] [--url URL] [--json FILE]

The search is an evolution of AutoViT-XXS in generations of 50, with made-up costs and scores; ``best_arch.json`` and
``topk.csv`` are written after every generation, as in the tool. Storages are ``journal`` (one search alone), ``shared``
(the same file as several processes would use it: each candidate is claimed and read back), ``sqlite`` and
``postgresql`` (with ``--url``, an empty database), both shared.

``ms.STORAGE.N`` is the processor time of this process for each of the (at most) 500 candidates up to number N, without
that of estimates and scores. It hardly depends on other programs, but lacks the work of a database server.
"""

import random
import tempfile
import time
import zlib
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path

from _common import Figures, add_json_argument, describe_machine, positive

from mmhybrid.search import Candidate, Evolution, Objective, Searcher, SearchSettings, Stage, StudyStorage
from mmhybrid.search.watchers import Progress
from mmhybrid.space import Arch, AutoViTSpace
from mmhybrid.utils.files import write_json

OBJECTIVES = (Objective('top1'), Objective('macs_m', 'minimize'), Objective('params_m', 'minimize'))
POPULATION = 50
WINDOW = 500
ENDS = (500, 1000, 2000, 5000, 10_000)


class Watch:
    """Reads the processor time at the given numbers of candidates, without that of the functions to leave out."""

    def __init__(self, ends: Sequence[int]) -> None:
        self._ends = {mark for end in ends for mark in (max(end - WINDOW, 0), end)}
        self._left_out = 0.0
        self.seconds = {0: time.process_time()}

    def leaving_out(self, function: Callable[[Arch], dict[str, float]]) -> Callable[[Arch], dict[str, float]]:
        """``function``, whose time is left out."""

        @wraps(function)
        def timed(arch: Arch) -> dict[str, float]:
            start = time.process_time()
            found = function(arch)
            self._left_out += time.process_time() - start
            return found

        return timed

    def on_candidate(self, candidate: Candidate, progress: Progress) -> None:
        """See :class:`mmhybrid.search.watchers.Watcher`."""
        if progress.done in self._ends:
            self.seconds[progress.done] = time.process_time() - self._left_out

    def on_message(self, text: str) -> None:
        """See :class:`mmhybrid.search.watchers.Watcher`."""
        print(text)


def estimate(arch: Arch) -> dict[str, float]:
    """Made-up costs, which grow with every gene."""
    total = float(sum(value for value in arch.values() if not isinstance(value, str)))
    return {'params_m': total, 'macs_m': 2 * total + len(arch)}


def score(arch: Arch) -> dict[str, float]:
    """A made-up score."""
    return {'top1': random.Random(zlib.crc32(arch.to_json().encode())).uniform(50, 60)}


def measure(location: str, folder: Path, shared: bool, candidates: int, objectives: int) -> dict[int, float]:
    """Milliseconds for a candidate, by the numbers of candidates in :data:`ENDS`."""
    stage = Stage('search', Evolution(), candidates, POPULATION)
    settings = SearchSettings(AutoViTSpace('xxs'), [stage], OBJECTIVES[:objectives])
    ends = sorted({end for end in ENDS if end < candidates} | {candidates})
    watch = Watch(ends)
    storage = StudyStorage(location, settings, shared=shared)
    Searcher(
        settings,
        watch.leaving_out(estimate),
        watch.leaving_out(score),
        storage,
        watcher=watch,
        save=lambda result: result.write(folder),
    ).run()
    taken = watch.seconds
    return {end: (taken[end] - taken[max(end - WINDOW, 0)]) / min(end, WINDOW) * 1000 for end in ends}


def places(folder: Path, url: str | None) -> Mapping[str, tuple[str, bool]]:
    """Location of each storage, and whether it is shared."""
    found = {
        'journal': (str(folder / 'alone.journal'), False),
        'shared': (str(folder / 'shared.journal'), True),
        'sqlite': (f'sqlite:///{folder / "search.db"}', True),
    }
    return found if url is None else {**found, 'postgresql': (url, True)}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = ArgumentParser(
        description='Processor time of a search for each candidate, apart from estimates and scores.'
    )
    parser.add_argument(
        '--candidates', type=positive, default=10_000, metavar='N', help='number of candidates; default: 10000'
    )
    parser.add_argument(
        '--objectives',
        type=positive,
        choices=range(1, 1 + len(OBJECTIVES)),
        default=2,
        help='number of objectives; default: 2',
    )
    parser.add_argument('--storages', nargs='+', metavar='NAME', help='storages to measure; default: all')
    parser.add_argument('--url', help='address of an empty PostgreSQL database, which becomes the storage postgresql')
    add_json_argument(parser)
    args = parser.parse_args(argv)
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = places(folder, args.url)
        names = args.storages or list(found)
        if unknown := [storage for storage in names if storage not in found]:
            parser.error(f'--storages: got {unknown[0]}, allowed: {", ".join(found)}')
        for storage in names:
            location, shared = found[storage]
            for end, ms in measure(location, folder, shared, args.candidates, args.objectives).items():
                figures[f'ms.{storage}.{end}'] = ms
                print(f'{storage}, {end} candidates: {ms:.2f} ms', flush=True)
    if args.json is not None:
        setting = {'setting.candidates': args.candidates, 'setting.objectives': args.objectives}
        write_json(args.json, {**figures, **setting, **describe_machine('cpu')})


if __name__ == '__main__':
    main()
