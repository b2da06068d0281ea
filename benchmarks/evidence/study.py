"""The study of a row: a pilot, the number of seeds that follows from it, the runs and the findings, all in one file."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from _common import describe_machine

from evidence.claims import Row
from evidence.judges import metric_of
from evidence.runs import CONFIGS, Network, Place, Run, check_sizes, perform
from evidence.verdicts import POINT, POWER, Claim, Ordering, interval_of, seeds_needed
from mmhybrid.apis.configs import load_config
from mmhybrid.utils.files import first_difference, plain, read_json, write_json

FIRST_PILOT_SEED = 1000  # those of the study begin at 0
LEAST_SEEDS = 5

Scores = dict[str, list[float]]


class Study:
    """A row and its findings so far.

    Args:
        row: Claim and arms.
        place: Where runs take place; the study's file is in its folder.
        pilot: Number of seeds of the pilot, which are not used again.
        at_most: Maximum number of seeds of the study, whatever the pilot asks for.

    Raises:
        ValueError: If the sizes of arms differ, or the file belongs to another study.
    """

    def __init__(self, row: Row, place: Place, pilot: int, at_most: int) -> None:
        self.row = row
        self.place = place
        self.networks = [Network.of(row, name, place) for name in row.arms]
        if row.one_size:
            check_sizes([network for network in self.networks if network.name in row.compared])
        self.file = place.folder / f'{row.name}.json'
        about = {
            'row': row.name,
            'claim': row.claim,
            'source': row.source,
            'metric': metric_of(load_config(str(CONFIGS / row.config)))[0],
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
        """Run what has not run yet, and return the content of the file."""
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
        """The score of each arm with one seed, which is run first where it has not run yet."""
        return {name: scores[0] for name, scores in self._scores([seed]).items()}

    def _scores(self, seeds: Sequence[int]) -> Scores:
        """The scores of each arm in the order of the seeds; missing ones are run, seed by seed."""
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
    """The number of seeds of a study, decided before it begins.

    It is the least number that detects a difference of one point (or shows that it is below a point, where arms are
    claimed to be equal) with a power of .8 for every ordering of the row, by the standard deviations in the pilot; at
    least five.

    Args:
        pilot: Scores of the arms, paired by seed.
        orderings: Orderings of the row.
        at_most: Maximum number, for the time that it takes.
    """
    spreads = {str(one): statistics.stdev(_differences(pilot, one)) for one in orderings}
    wanted = [seeds_needed(0.0 if one.about_equal else POINT, spreads[str(one)], one.about_equal) for one in orderings]
    largest = None if None in wanted else max(filter(None, wanted))
    seeds = at_most if largest is None else min(max(largest, LEAST_SEEDS), at_most)
    return {'power': POWER, 'points': POINT, 'sd_of_differences': spreads, 'wanted': largest, 'seeds': seeds}


def findings(scores: Mapping[str, Sequence[float]], orderings: Sequence[Claim]) -> dict[str, Any]:
    """The mean and interval of each arm, and the finding of each ordering (see :meth:`Ordering.finding`)."""
    found = [one.finding(scores) for one in orderings]
    return {'arms': {name: asdict(interval_of(values)) for name, values in scores.items()}, 'orderings': found}


def _differences(scores: Mapping[str, Sequence[float]], ordering: Ordering) -> list[float]:
    return [a - b for a, b in zip(scores[ordering.first], scores[ordering.second], strict=True)]
