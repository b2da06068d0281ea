"""Small spaces, costs and scores that need no network."""

import json
import os

from mmhybrid.search import Objective, RandomSampler, Searcher, SearchSettings, Stage, StudyStorage
from mmhybrid.search.proposals import propose
from mmhybrid.space import AutoViTSpace, Choice, Rule, SearchSpace

AUTOVIT = AutoViTSpace('xxs')
TOP1 = Objective('top1')


class Toy(SearchSpace):
    """``genes`` genes of ``values`` values; the last has no effect while the first is 0."""

    def __init__(self, genes=3, values=3, restrict=None):
        numbers = tuple(range(values))
        steps = [Choice(f'genes.{i}.size', numbers) for i in range(genes - 1)]
        has_effect = Rule(('genes.0.size',), lambda first: first > 0)
        steps.append(Choice(f'genes.{genes - 1}.size', numbers, has_effect))
        super().__init__(steps, {'genes': genes, 'values': values}, restrict)

    def _decode(self, arch):
        return dict(arch)


def build_toy(config):
    return Toy.from_config(config)


def estimate(arch):
    """More of anything costs more."""
    total = float(sum(arch.values()))
    return {'params_m': total, 'macs_m': 2 * total + len(arch)}


def places(space, arch):
    """Each gene's value as a number from 0 (the smallest) to 1."""
    values = {name: space.choices[name].values for name in arch}
    return {name: values[name].index(value) / max(len(values[name]) - 1, 1) for name, value in arch.items()}


class Smooth:
    """A score that falls with the distance from a target; counts its calls."""

    def __init__(self, space, target=0.5):
        self.space = space
        self.target = target
        self.calls = []

    def __call__(self, arch):
        self.calls.append(arch)
        distance = sum((place - self.target) ** 2 for place in places(self.space, arch).values())
        return {'top1': -distance / len(arch)}


def settings(space, stages=None, objectives=(TOP1,), **options):
    return SearchSettings(space, stages or [Stage(budget=40, population=10)], objectives, **options)


def search(folder, plan, evaluate=None, resume=False, team=None, watcher=None, shared=False):
    """Run ``plan`` with the journal in ``folder``."""
    storage = StudyStorage(folder / 'search.journal', plan, resume=resume, shared=shared)
    scores = evaluate or Smooth(plan.space)
    return Searcher(plan, estimate, scores, storage, team, watcher, poll_seconds=0.01).run()


def in_memory(plan, evaluate, costs=estimate):
    """The history of a search without storage."""
    history = []
    for stage in plan.stages:
        for generation, size in stage.generations():
            proposals, shortage = propose(plan, stage, generation, size, history, costs)
            history += [p if stage.rank_by else p.evaluated(evaluate(p.arch)) for p in proposals]
            if shortage:
                break
    return history


def as_evaluated(history):
    """Candidates in the order of their evaluation: in each generation, the cheapest first."""
    return sorted(history, key=lambda c: (c.generation, c.estimates['macs_m']))


def random_stage(**options):
    return Stage(**{'name': 'random', 'sampler': RandomSampler(), 'budget': 40, 'population': 10, **options})


def stored_trials(folder):
    """What the journal says of each trial, without times and process names."""
    lines = [json.loads(line) for line in (folder / 'search.journal').read_text().splitlines()]
    keys = ('op_code', 'state', 'value', 'values', 'params', 'user_attrs', 'user_attr')
    for line in lines:
        record = {**line.get('user_attrs', {}), **line.get('user_attr', {})}.get('candidate', {})
        for timed in ('seconds', 'checksum'):
            record.pop(timed, None)
    return [{key: line[key] for key in keys if key in line} for line in lines]


def forked(action):
    """Run ``action`` in a forked process; whether it was killed."""
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)
