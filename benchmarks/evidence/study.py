"""A study of a row: a pilot, from its spread the number of seeds, the runs, and what they say; all of it in a file."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from _common import describe_machine

from evidence.claims import Row
from evidence.judges import METRIC
from evidence.runs import Network, Place, Run, check_sizes, perform
from evidence.verdicts import (
    POINT,
    POWER,
    Ordering,
    SameRanks,
    interval_of,
    seeds_needed,
)
from mmhybrid.utils.files import first_difference, plain, read_json, write_json

FIRST_PILOT_SEED = 1000  # those of the study begin at 0
LEAST_SEEDS = 5

Scores = dict[str, list[float]]


class Study:
    """A row and what has been found of it.

    Args:
        row: What is tried.
        place: Where runs take place; the file is in its folder.
        pilot: Seeds of the pilot, which do not count afterwards.
        at_most: Seeds of the study, whatever the pilot asks for.

    Raises:
        ValueError: If sizes of arms differ, or the file is of another study.
    """

    def __init__(self, row: Row, place: Place, pilot: int, at_most: int) -> None:
        self.row = row
        self.place = place
        self.networks = [Network.of(row, name, place) for name in row.arms]
        if row.one_size:
            check_sizes(self.networks)
        self.file = place.folder / f'{row.name}.json'
        about = {
            'row': row.name,
            'claim': row.claim,
            'source': row.source,
            'metric': METRIC,
            'arms': {network.name: network.told() for network in self.networks},
            'orderings': [asdict(ordering) for ordering in row.orderings],
            'trial_options': plain(dict(place.options or {})),
            'pilot_seeds': [FIRST_PILOT_SEED + number for number in range(pilot if row.seeds is None else 0)],
            'at_most': at_most,
        }
        self.content: dict[str, Any] = {'about': plain(about)}
        if self.file.exists():
            self.content = read_json(self.file)
            if difference := first_difference(self.content['about'], plain(about)):
                raise ValueError(f'{self.file} has another study: {difference}; give another --dir')

    def run(self) -> dict[str, Any]:
        """Run what has not run, and return what the file holds then."""
        about = self.content['about']
        if 'plan' not in self.content:
            if self.row.seeds is None:
                pilot = self.content['pilot_scores'] = self._scores(about['pilot_seeds'])
                orderings = [one for one in self.row.orderings if isinstance(one, Ordering)]
                self.content['plan'] = plan(pilot, orderings, about['at_most'])
            else:
                self.content['plan'] = {'seeds': min(self.row.seeds, about['at_most'])}
            self._write()
        seeds = range(self.content['plan']['seeds'])
        self.content['scores'] = self._scores(seeds)
        self.content['findings'] = findings(self.content['scores'], self.row.orderings)
        self.content['machine'] = describe_machine(self.place.device)
        self._write()
        return self.content

    def rerun(self, seed: int) -> dict[str, float]:
        """The score of each arm with one seed."""
        return {name: scores[0] for name, scores in self._scores([seed]).items()}

    def _scores(self, seeds: Sequence[int]) -> Scores:
        """The scores of all arms in the order of the seeds, which run one after the other."""
        runs = [Run(network, seed, self.place) for seed in seeds for network in self.networks]
        results: dict[tuple[str, int], dict[str, Any]] = {}
        for run in perform(runs):
            result = results[run.network.name, run.seed] = run.result or {}
            told = f'{result["score"]:.2f} after {result["seconds"]:.0f} s'
            print(f'{self.row.name}, {run.network.name}, seed {run.seed}: {told}', flush=True)
        return {network.name: [results[network.name, seed]['score'] for seed in seeds] for network in self.networks}

    def _write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.file, self.content)


def plan(pilot: Mapping[str, Sequence[float]], orderings: Sequence[Ordering], at_most: int) -> dict[str, Any]:
    """How many seeds a study takes, decided before it begins.

    As many as tell a difference of a point with a power of .8, or that there is none of a point, for the ordering with
    the widest spread in the pilot; five at least.

    Args:
        pilot: Scores of the arms, paired.
        orderings: Of the row.
        at_most: A bound, for time.
    """
    spreads = {str(one): statistics.stdev(_differences(pilot, one)) for one in orderings}
    wanted = [seeds_needed(0.0 if one.about_equal else POINT, spreads[str(one)], one.about_equal) for one in orderings]
    largest = None if None in wanted else max(filter(None, wanted))
    seeds = at_most if largest is None else min(max(largest, LEAST_SEEDS), at_most)
    return {'power': POWER, 'points': POINT, 'sd_of_differences': spreads, 'wanted': largest, 'seeds': seeds}


def findings(scores: Mapping[str, Sequence[float]], orderings: Sequence[Ordering | SameRanks]) -> dict[str, Any]:
    """Means of the arms, and of each ordering what the scores say, the verdict, and what would decide."""
    found = [one.finding(scores) for one in orderings]
    return {'arms': {name: asdict(interval_of(values)) for name, values in scores.items()}, 'orderings': found}


def _differences(scores: Mapping[str, Sequence[float]], ordering: Ordering) -> list[float]:
    return [a - b for a, b in zip(scores[ordering.first], scores[ordering.second], strict=True)]
